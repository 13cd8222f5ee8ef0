import gzip
import hashlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from eosin.cohorts import unpacking as module
from eosin.cohorts.unpacking import unpack_once
from eosin.core import CohortError, Progress, RunError, Task

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


class Counter(Progress, Task):
    """A progress with one task, which counts."""

    def __init__(self):
        self.n = 0

    def task(self, name, total):
        self.total = total
        return self

    def advance(self, n=1, note=""):
        self.n += n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "train_x.h5.gz"
    path.write_bytes(gzip.compress(CONTENT, compresslevel=1))
    return path


def test_a_file_is_unpacked_with_its_checksum_and_progress(packed, tmp_path):
    counter = Counter()
    path, md5 = unpack_once(packed, tmp_path / "out", progress=counter)
    assert path == tmp_path / "out" / "train_x.h5"
    assert path.read_bytes() == CONTENT
    assert md5 == hashlib.md5(packed.read_bytes()).hexdigest()
    assert counter.n == counter.total == packed.stat().st_size


def test_it_is_unpacked_once(packed, tmp_path, monkeypatch):
    first = unpack_once(packed, tmp_path / "out")
    monkeypatch.setattr(module, "_unpack", lambda *_: pytest.fail("unpacked again"))
    assert unpack_once(packed, tmp_path / "out") == first


def test_another_packed_file_or_a_damaged_copy_is_unpacked_anew(packed, tmp_path):
    path, _ = unpack_once(packed, tmp_path / "out")
    path.write_bytes(b"short")
    assert unpack_once(packed, tmp_path / "out")[0].read_bytes() == CONTENT
    packed.write_bytes(gzip.compress(b"other"))
    assert unpack_once(packed, tmp_path / "out")[0].read_bytes() == b"other"


def cut(data):
    return data[:-1000]


def damage(data):
    middle = len(data) // 2
    return data[:middle] + b"\0" * 64 + data[middle + 64 :]


def change_checksum(data):
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


@pytest.mark.parametrize("change", [cut, damage, change_checksum, lambda _: b"no gz"])
def test_a_file_that_is_cut_short_or_damaged_is_named(packed, tmp_path, change):
    packed.write_bytes(change(packed.read_bytes()))
    with pytest.raises(CohortError, match=r"train_x\.h5\.gz: cannot be unpacked"):
        unpack_once(packed, tmp_path / "out")
    assert not (tmp_path / "out" / "train_x.h5").exists()


def test_a_full_disk_stops_before_it_is_written(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GROWTH", 1e12)
    with pytest.raises(RunError, match="unpacking needs"):
        unpack_once(packed, tmp_path / "out")


def test_a_file_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    # 60 MB of zeros in 60 kB, which is over 20 times as much.
    bomb = tmp_path / "train_x.h5.gz"
    bomb.write_bytes(gzip.compress(bytes(60_000_000)))
    monkeypatch.setattr(module, "_PLAIN_BYTES", 10_000_000)
    with pytest.raises(CohortError, match="more than 20 times its size"):
        unpack_once(bomb, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    # Below the least that counts, such growth is nothing unusual.
    monkeypatch.setattr(module, "_PLAIN_BYTES", 60_000_000)
    assert unpack_once(bomb, tmp_path / "out")[0].stat().st_size == 60_000_000


def test_a_disk_that_fills_while_it_is_unpacked_stops_it(packed, tmp_path, monkeypatch):
    free = [2 << 30, 2 << 30, 1 << 20]
    usage = lambda _: SimpleNamespace(free=free.pop(0))  # noqa: E731 - of one use
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(RunError, match="unpacking needs"):
        unpack_once(packed, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
