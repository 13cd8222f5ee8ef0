import contextlib
import http.server
import os
import socket
import sys
import threading
import warnings
from pathlib import Path
from urllib.parse import unquote

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from eosin.core import MissingExtraError, SlideError
from eosin.slides import byte_sources, fingerprint_slide, is_remote, open_slide
from eosin.slides.byte_sources import LocalFile, RemoteFile
from eosin.slides.tiff_reader import TIFFSlide


class RangeHandler(http.server.BaseHTTPRequestHandler):
    """Serves one folder and answers range requests; counts them."""

    folder: Path
    asked: list[tuple[str, str | None]]
    knows_ranges = True

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, *, send):
        path = self.folder / unquote(self.path).lstrip("/")
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = self.headers.get("Range") if self.knows_ranges else None
        if send:
            self.asked.append((self.path, asked))
        status, part = 200, content
        if asked:
            start, end = asked.removeprefix("bytes=").split("-")
            part = content[int(start) : int(end) + 1 if end else None]
            status = 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            first = int(start)
            text = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            self.send_header("Content-Range", text)
        self.end_headers()
        if send:
            self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    asked = []
    handler = type("H", (RangeHandler,), {"folder": tmp_path, "asked": asked})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    running.server_close()
    thread.join(5)


def test_a_local_file_is_read_by_place(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    source = LocalFile(tmp_path / "a")
    assert source.size == 100
    assert source.read(10, 5) == bytes(range(10, 15))
    assert source.read(98, 5) == bytes((98, 99))
    with pytest.raises(SlideError, match="a: 5 bytes at -1"):
        source.read(-1, 5)
    with pytest.raises(SlideError, match="none: cannot be read"):
        LocalFile(tmp_path / "none")
    # As on Windows.
    monkeypatch.delattr(os, "pread")
    assert source.read(10, 5) == bytes(range(10, 15))


def test_a_slide_behind_a_server_is_the_same(server, make_tiled, tmp_path):
    address, asked = server
    path = make_tiled("svs-jpeg", size=(1100, 1300))
    (tmp_path / "S 1.svs").write_bytes(path.read_bytes())
    with open_slide(f"{address}/S 1.svs") as slide, TIFFSlide(path) as local:
        assert slide.reader == "native"
        assert slide.levels == local.levels
        assert slide.path.name == "S 1.svs"
        opened = len(asked)
        assert opened <= 4
        boxes = np.array([(0, 0, 256, 256), (512, 256, 256, 256)])
        out = np.empty((2, 256, 256, 3), np.uint8)
        slide.read_tiles(boxes, out)
        # One range request per native tile.
        assert len(asked) == opened + 2
        assert all(where for _, where in asked[opened:])
        assert np.array_equal(out[1], local.read(512, 256, 256, 256))
        assert np.array_equal(
            slide.associated_images["thumbnail"], local.associated_images["thumbnail"]
        )


def test_a_slide_in_a_bucket_is_the_same(make_tiled, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    path = make_tiled("svs-jpeg")
    with warnings.catch_warnings():
        # Of the test server's own packages.
        warnings.simplefilter("ignore")
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        try:
            files = fsspec.filesystem("s3", skip_instance_cache=True)
            files.mkdir("slides")
            files.put_file(str(path), "slides/S1.svs")
            with open_slide("s3://slides/S1.svs") as slide, TIFFSlide(path) as local:
                found = slide.read(100, 100, 300, 300)
                assert np.array_equal(found, local.read(100, 100, 300, 300))
        finally:
            server.stop()


def test_what_a_server_lacks_is_an_error(server, tmp_path):
    address, _ = server
    message = r"none\.svs: cannot be reached \(HTTP status 404"
    with pytest.raises(SlideError, match=message):
        open_slide(f"{address}/none.svs")
    (tmp_path / "a.svs").write_bytes(b"no slide")
    with pytest.raises(SlideError, match="TIFF headers cannot be read"):
        open_slide(f"{address}/a.svs")


def test_a_server_that_goes_away_is_an_error(server, make_tiled, tmp_path):
    address, _ = server
    (tmp_path / "a.svs").write_bytes(make_tiled("svs-jpeg").read_bytes())
    with open_slide(f"{address}/a.svs") as slide:
        (tmp_path / "a.svs").unlink()
        with pytest.raises(SlideError, match=r"read \(there is no such file\)"):
            slide.read(0, 0, 256, 256)


class Files:
    """A file system that tells nothing of a file, or fails for a reason."""

    def __init__(self, error=None):
        self.error = error

    def info(self, path):
        if self.error is None:
            return {}
        # What fsspec does: the address, from the error that says why.
        raise FileNotFoundError(path) from self.error

    def cat_file(self, path, **_):
        raise FileNotFoundError(path) from self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, "must tell the file's size"),
        (OSError("no route"), r"cannot be reached \(OSError: no route\)"),
        (TimeoutError(), r"cannot be reached \(TimeoutError\)"),
    ],
)
def test_the_reason_behind_a_failure_is_told(error, message, monkeypatch):
    files = Files(error)
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (files, url))
    with pytest.raises(SlideError, match=message):
        RemoteFile("s3://a/b.svs")
    monkeypatch.setattr(files, "info", lambda _: {"size": 3})
    file = RemoteFile("s3://a/b.svs")
    monkeypatch.undo()
    if error:
        with pytest.raises(SlideError, match=message.replace("reached", "read")):
            file.open().read(3)


@pytest.mark.parametrize("lacks", ["s3fs", "fsspec"])
def test_a_missing_package_is_named(monkeypatch, lacks):
    def refuse(_, **__):
        raise ImportError("install s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    if lacks == "fsspec":
        monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"eosin\[remote\]"):
        RemoteFile("s3://a/b.svs")


def test_a_read_beyond_the_end_is_empty(server, tmp_path):
    address, _ = server
    (tmp_path / "a").write_bytes(b"abc")
    source = RemoteFile(f"{address}/a")
    assert source.read(1, 10) == b"bc"
    assert source.read(3, 10) == b""
    stream = source.open()
    assert (stream.seek(-2, 2), stream.read(9), stream.tell()) == (1, b"bc", 3)


def test_a_server_that_sends_the_whole_file_is_named(server, tmp_path, monkeypatch):
    address, _ = server
    (tmp_path / "S1.svs").write_bytes(bytes(1000))
    source = RemoteFile(f"{address}/S1.svs")
    assert len(source.read(100, 50)) == 50
    monkeypatch.setattr(RangeHandler, "knows_ranges", False)
    with pytest.raises(SlideError, match="must answer range requests"):
        source.read(200, 50)


@pytest.mark.parametrize(
    "address",
    [
        "nonsense://a/b.svs",
        "file:///etc/passwd",
        "FILE://etc/passwd",
        "local:///etc/passwd",
        "memory://a.svs",
        "ftp://127.0.0.1:9/a.svs",
        "reference://a.svs",
        "github://owner:name@main/a.svs",
        "data:;base64,SUkqAAgAAAA=",
        "data:image/tiff;base64,SUkqAAgAAAA=//",
        "simplecache::https://127.0.0.1:9/a.svs",
        "zip://a.svs::file:///a.zip",
        "https://127.0.0.1:9/a.svs::file:///etc/passwd",
        "filecache::s3://bucket/a.svs",
        "hdfs+x_y-z://a.svs",
    ],
)
def test_addresses_of_other_kinds_are_refused_at_once(address, monkeypatch):
    monkeypatch.setattr(
        fsspec.core, "url_to_fs", lambda *_, **__: pytest.fail("was passed on")
    )
    with pytest.raises(SlideError, match="http://, https://, s3://, gs://"):
        open_slide(address)
    with pytest.raises(SlideError, match="http://, https://, s3://, gs://"):
        fingerprint_slide(address)


@pytest.mark.parametrize(
    ("path", "is_address"),
    [
        ("HTTPS://host/a.svs", True),
        ("gs://bucket/a.svs", True),
        ("/data/odd://a.svs", False),
        ("./s3://a.svs", False),
        ("C://slides/a.svs", False),
        ("a.b://a.svs", False),
        ("tiles/pack.arrow::S1://x", False),
        ("data:a.svs", False),
        (Path("https://host/a.svs"), False),
    ],
)
def test_a_name_with_slashes_is_an_address_where_it_begins_like_one(path, is_address):
    assert is_remote(path) == is_address
    if not is_address:
        with pytest.raises(SlideError, match=r"no such file|not a pack|cannot be"):
            open_slide(path)


def test_the_case_of_a_scheme_does_not_count(server, make_tiled, tmp_path):
    address, _ = server
    (tmp_path / "a.svs").write_bytes(make_tiled("svs-jpeg").read_bytes())
    with open_slide(address.replace("http", "HTTP") + "/a.svs") as slide:
        assert slide.read(0, 0, 8, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/a.svs"])
def test_a_server_cannot_lead_elsewhere(server, monkeypatch, where):
    address, _ = server

    def redirect(self, *, send):
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()

    monkeypatch.setattr(RangeHandler, "answer", redirect)
    with pytest.raises(SlideError, match=r"a\.svs: cannot be reached"):
        open_slide(f"{address}/a.svs")


def test_a_server_that_never_ends_is_left(server, tmp_path, monkeypatch):
    address, _ = server
    (tmp_path / "a.svs").write_bytes(bytes(1000))
    source = RemoteFile(f"{address}/a.svs")
    n_sent = 0

    def go_on(self, *, send):
        nonlocal n_sent
        self.send_response(206)
        self.end_headers()
        with contextlib.suppress(OSError):
            while n_sent < 10_000:
                self.wfile.write(bytes(1 << 20))
                n_sent += 1

    monkeypatch.setattr(RangeHandler, "answer", go_on)
    with pytest.raises(SlideError, match="must answer range requests"):
        source.read(0, 100)
    # What lies in buffers, and not the 10 GB.
    assert n_sent < 100


def test_a_server_that_falls_silent_is_left(server, monkeypatch):
    address, _ = server
    silence = threading.Event()
    monkeypatch.setattr(RangeHandler, "answer", lambda *_, send: silence.wait(20))
    monkeypatch.setattr(byte_sources, "_SILENCE_S", 0.2)
    with pytest.raises(SlideError, match=r"cannot be reached \(.*[Tt]imeout"):
        RemoteFile(f"{address}/a.svs?silent")
    silence.set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to a device"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind, monkeypatch):
    # Names of sockets must be short.
    monkeypatch.chdir(tmp_path)
    path = Path("a.tif")
    with contextlib.ExitStack() as stack:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.bind(str(path))
        elif kind == "device":
            path = Path("/dev/zero")
        else:
            path.symlink_to("/dev/zero")
        for call in (open_slide, fingerprint_slide, LocalFile, TIFFSlide):
            with pytest.raises(SlideError, match="a pipe, a device or a socket"):
                call(path)
