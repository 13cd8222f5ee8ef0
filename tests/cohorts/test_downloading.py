"""Downloads from a server of this machine that behaves badly on request."""

import hashlib
import http.server
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from eosin.cohorts import downloading as module
from eosin.cohorts.downloading import download_file
from eosin.core import RunError

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT` at any path.

    Attributes:
        asked: The `Range` of each request.
        breaks: Bytes after which the connection ends, one per request from the first.
        answers: Status of each request from the first; 0 is an answer as asked.
        can_resume: Whether ranges are heeded.
        has_length: Whether the answer says its length.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.breaks = []
        self.answers = []
        self.can_resume = True
        self.has_length = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/a.bin?download=1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.headers["Range"])
        status = server.answers.pop(0) if server.answers else 0
        if status:
            self.send_error(status)
            return
        start = int(self.headers["Range"][6:-1]) if server.can_resume else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        part = CONTENT[start:]
        self.send_response(206 if server.can_resume else 200)
        if server.has_length:
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        end = server.breaks.pop(0) if server.breaks else len(part)
        self.wfile.write(part[:end])

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0)


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, path, **options):
    return download_file(server.url, path, **({"md5": MD5} | options))


def test_a_file_is_downloaded_whole(server, tmp_path):
    path = tmp_path / "new" / "a.bin"
    assert fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=0-"]
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_file_that_is_there_is_checked_and_kept(server, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    assert not fetch(server, path)
    assert server.asked == []
    path.write_bytes(b"other")
    with pytest.raises(RunError, match="is there already, and its MD5 is not"):
        fetch(server, path)


@pytest.mark.parametrize(
    ("server_is", "part", "asked"),
    [
        ({"breaks": [1_000_000, 500_000]}, b"", [0, 1_000_000, 1_500_000]),
        ({}, CONTENT[:2_000_000], [2_000_000]),
        # What is whole is only checked.
        ({}, CONTENT, [3_000_000]),
        ({"can_resume": False}, b"x" * 2_000_000, [2_000_000]),
        ({"has_length": False}, b"", [0]),
        ({"answers": [503, 429, 500]}, b"", [0, 0, 0, 0]),
    ],
)
def test_what_broke_off_goes_on(server, tmp_path, server_is, part, asked):
    vars(server).update(server_is)
    if part:
        (tmp_path / "a.bin.part").write_bytes(part)
    assert fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [f"bytes={start}-" for start in asked]


def test_a_wrong_checksum_deletes_what_came(server, tmp_path):
    with pytest.raises(RunError, match="damaged or another file: its MD5 must be 000"):
        fetch(server, tmp_path / "a.bin", md5="000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 403, 416])
def test_final_errors_stop_at_once(server, tmp_path, status):
    server.answers = [status]
    with pytest.raises(RunError, match=f"the server answers {status}"):
        fetch(server, tmp_path / "a.bin")
    assert len(server.asked) == 1


def test_a_server_that_never_answers_is_given_up_and_the_part_kept(server, tmp_path):
    server.breaks = [1_000_000]
    server.answers = [0] + [502] * 20
    with pytest.raises(RunError, match=r"502 .*, 6 times.*what has come is kept"):
        fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin.part").stat().st_size == 1_000_000


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_other_addresses_are_refused(url, tmp_path):
    with pytest.raises(RunError, match="must begin with http"):
        download_file(url, tmp_path / "a", md5=MD5)


def test_nobody_at_the_address_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ATTEMPTS", 2)
    with pytest.raises(RunError, match="refused"):
        download_file("http://127.0.0.1:9/a", tmp_path / "a", md5=MD5)


def test_a_full_disk_stops_before_it_is_written(server, tmp_path, monkeypatch):
    def refuse(folder, n_bytes, purpose):
        raise RunError(f"{purpose} needs {n_bytes}")

    monkeypatch.setattr(module, "require_free_space", refuse)
    with pytest.raises(RunError, match="downloading needs 3000000"):
        fetch(server, tmp_path / "a.bin")


def test_what_never_ends_is_left(server, tmp_path, monkeypatch):
    server.has_length = False
    monkeypatch.setattr(module, "_MOST_BYTES", 2 << 20)
    with pytest.raises(RunError, match="no such file"):
        download_file(server.url, tmp_path / "a.bin", md5=MD5)
    assert (tmp_path / "a.bin.part").stat().st_size <= 2 << 20


def test_a_disk_that_fills_meanwhile_stops_it(server, tmp_path, monkeypatch):
    server.has_length = False
    free = [2 << 30, 1 << 20]
    usage = lambda _: SimpleNamespace(free=free.pop(0))  # noqa: E731 - of one use
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(RunError, match="downloading needs"):
        download_file(server.url, tmp_path / "a.bin", md5=MD5)


@pytest.mark.parametrize("length", ["many", "-", "1e9"])
def test_a_length_that_is_no_number_is_told(server, tmp_path, monkeypatch, length):
    def answer(self):
        self.send_response(200)
        self.send_header("Content-Length", length)
        self.end_headers()

    monkeypatch.setattr(Handler, "do_GET", answer)
    with pytest.raises(RunError, match="cannot be downloaded"):
        download_file(server.url, tmp_path / "a.bin", md5=MD5)
