import hashlib
import http.server
import json
import threading

import pytest

from eosin.cohorts import PCAM_MD5
from eosin.core import RunError
from eosin.settings import FetchSettings
from eosin.workflows.fetch import fetch_data


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.path.encode()
        start = int(self.headers["Range"][6:-1])
        self.send_response(206)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    """A server of this machine; each file's content is its own path."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/files/{{name}}?download=1"
    server.shutdown()
    thread.join()
    server.server_close()


CHECKSUMS = {
    name: hashlib.md5(f"/files/{name}?download=1".encode()).hexdigest()
    for name in PCAM_MD5
}


def test_all_files_come_and_are_kept(address, tmp_path):
    config = FetchSettings(address=address)
    result = fetch_data(tmp_path, config, checksums=CHECKSUMS)
    assert sorted(result.fetched) == sorted(PCAM_MD5)
    assert result.fetched[-1].endswith("_x.h5.gz")
    assert result.kept == ()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "done"
    name = "camelyonpatch_level_2_split_test_y.h5.gz"
    assert record["notes"][name]["md5"] == CHECKSUMS[name]
    again = fetch_data(tmp_path, config, checksums=CHECKSUMS)
    assert again.fetched == ()
    assert len(again.kept) == 9


def test_splits_can_be_added_one_by_one(address, tmp_path):
    for split in ("valid", "test"):
        config = FetchSettings(splits=(split,), address=address)
        result = fetch_data(tmp_path, config, checksums=CHECKSUMS)
        assert len(result.fetched) == 3
        assert all(f"_{split}_" in name for name in result.fetched)
    assert len(list(tmp_path.glob("*.h5.gz"))) == 4


def test_another_file_than_the_published_one_is_refused(address, tmp_path):
    config = FetchSettings(splits=("test",), address=address)
    with pytest.raises(RunError, match="its MD5 must be"):
        fetch_data(tmp_path, config)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"
