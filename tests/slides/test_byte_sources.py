import http.server
import os
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
from eosin.slides import open_slide
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
    with pytest.raises(SlideError, match="not a URL"):
        open_slide("nonsense://a/b.svs")
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

    def open(self, path, *_, **__):
        self.info(path)


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
        RemoteFile("https://a/b.svs")
    monkeypatch.setattr(files, "info", lambda _: {"size": 3})
    file = RemoteFile("https://a/b.svs")
    monkeypatch.undo()
    if error:
        with pytest.raises(SlideError, match=message.replace("reached", "opened")):
            file.open()


@pytest.mark.parametrize("lacks", ["s3fs", "fsspec"])
def test_a_missing_package_is_named(monkeypatch, lacks):
    def refuse(_):
        raise ImportError("install s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    if lacks == "fsspec":
        monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"eosin\[remote\]"):
        RemoteFile("s3://a/b.svs")


def test_a_read_beyond_the_end_is_empty():
    files = fsspec.filesystem("memory")
    files.pipe("/eosin/a", b"abc")
    source = RemoteFile("memory://eosin/a")
    assert source.read(1, 10) == b"bc"
    assert source.read(3, 10) == b""


def test_a_server_that_sends_the_whole_file_is_named(server, tmp_path, monkeypatch):
    address, _ = server
    (tmp_path / "S1.svs").write_bytes(bytes(1000))
    source = RemoteFile(f"{address}/S1.svs")
    assert len(source.read(100, 50)) == 50
    monkeypatch.setattr(RangeHandler, "knows_ranges", False)
    with pytest.raises(SlideError, match="must answer range requests"):
        source.read(200, 50)
