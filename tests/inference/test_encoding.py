import errno
import os
import shutil

import numpy as np
import pytest

from eosin.core import ModelError, Progress, RunError, SlideError, read_json, write_json
from eosin.inference import encode_tiles, encoding, read_encoded
from eosin.tiles import apply_view

N = 150


class KilledError(BaseException):
    """Stands for whatever ends the process."""


class Reader:
    """Reads tiles, keeps which rows were read, and may be killed at one of them."""

    def __init__(self, tiles, kill_at=None):
        self.tiles, self.kill_at, self.rows = tiles, kill_at, []

    def __call__(self, rows):
        if self.kill_at is not None and self.kill_at in rows:
            raise KilledError
        self.rows.extend(rows.tolist())
        return self.tiles[rows]


@pytest.fixture
def encode(session, tiles, tmp_path):
    """Encode all tiles, or as many as `n` says."""

    def go(read=None, *, n=N, model=session, folder=tmp_path, key="a", **options):
        return encode_tiles(read or Reader(tiles), n, model, folder, key=key, **options)

    return go


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_every_view_of_every_tile_is_encoded_and_read_once(encode, tiles, views):
    read = Reader(tiles)
    found = encode(read, views=views, outputs=("activations",))["activations"]
    assert found.shape == (views, N, 6, 6, 3)
    assert found.dtype == np.float16
    assert sorted(read.rows) == list(range(N))
    for index, view in enumerate(encoding.VIEW_SETS[views]):
        expected = (apply_view(tiles, view) / 255).astype(np.float16)
        np.testing.assert_allclose(found[index], expected, atol=1e-3)


def test_vectors_stay_exact_and_several_outputs_are_kept(encode, true_features):
    found = encode(outputs=("features", "logits"))
    assert found["features"].dtype == np.float32
    assert not found["features"].flags.writeable
    np.testing.assert_allclose(found["features"][0], true_features, atol=1e-6)
    expected = 2 * true_features[:, :1] - 1
    np.testing.assert_allclose(found["logits"][0], expected, atol=1e-6)
    assert encode(n=0)["features"].shape == (1, 0, 3)


def test_an_augmentation_sees_its_tiles_rows_and_view(encode):
    seen = []

    def augment(part, rows, view):
        seen.append((rows[0], len(part), view))
        return np.full_like(part, 10 * view)

    found = encode(views=2, augment=augment)["features"]
    parts = ((0, 64), (64, 64), (128, 22))
    assert sorted(seen) == [(*part, view) for part in parts for view in (0, 4)]
    np.testing.assert_allclose(found[1], 40 / 255, atol=1e-6)


def test_finished_work_is_not_done_again_nor_need_it_be_written_to(
    encode, tiles, true_features, tmp_path, monkeypatch
):
    encode()
    load = np.load

    def refuse_writing(path, mmap_mode=None, **options):
        if mmap_mode != "r":
            raise PermissionError(path)
        return load(path, mmap_mode=mmap_mode, **options)

    monkeypatch.setattr(np, "load", refuse_writing)
    again = Reader(tiles)
    found = encode(again)["features"]
    assert again.rows == []
    np.testing.assert_allclose(found[0], true_features, atol=1e-6)
    known = read_encoded(tmp_path, "a", N, "features")
    np.testing.assert_array_equal(known, found)
    for folder, key, n_tiles, output in (
        (tmp_path, "b", N, "features"),
        (tmp_path, "a", N + 1, "features"),
        (tmp_path, "a", N, "activations"),
        (tmp_path / "none", "a", N, "features"),
    ):
        assert read_encoded(folder, key, n_tiles, output) is None


@pytest.mark.parametrize("kill_at", [10, 70, 149])
def test_a_killed_run_goes_on_to_the_same_result(
    encode, tiles, tmp_path, monkeypatch, kill_at
):
    monkeypatch.setattr(encoding, "_SAVE_EVERY_S", -1.0)
    options = {"views": 4, "outputs": ("features", "activations")}
    whole = encode(folder=tmp_path / "w", **options)
    with pytest.raises(KilledError):
        encode(Reader(tiles, kill_at), **options)
    rest, told = Reader(tiles), []

    class Listener(Progress):
        def task(self, name, total):
            assert (name, total) == ("Encoding tiles", N)
            return super().task(name, total)

    monkeypatch.setattr("eosin.core.Task.advance", lambda _, n=1, **__: told.append(n))
    resumed = encode(rest, progress=Listener(), **options)
    n_done = kill_at // 64 * 64
    assert min(rest.rows) == n_done
    # What was done before counts at once.
    assert (told[0], sum(told)) == (n_done, N)
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


def test_arrays_of_another_key_are_never_reused(encode, tiles, true_features):
    encode()
    other = Reader(255 - tiles)
    found = encode(other, key="b")["features"]
    assert len(other.rows) == N
    np.testing.assert_allclose(found[0], 1 - true_features, atol=1e-6)
    # Neither are those of a key whose encoding was killed.
    with pytest.raises(KilledError):
        encode(Reader(tiles, 0), key="c")
    found = encode(Reader(tiles), key="b")["features"]
    np.testing.assert_allclose(found[0], true_features, atol=1e-6)


@pytest.mark.parametrize(
    "harm",
    [
        lambda state, _: state.write_text("{"),
        lambda state, _: write_json(state, ["a"]),
        lambda state, _: write_json(state, {"key": "a"}),
        lambda state, _: write_json(state, {"key": "a", "n_done": N + 1}),
        lambda _, array: array.unlink(),
        lambda _, array: array.write_bytes(b"\x93NUMPY"),
        lambda _, array: np.save(array, np.zeros((1, N, 4), np.float32)),
        lambda _, array: np.save(array, np.zeros((1, N, 3), np.float64)),
    ],
)
def test_damaged_or_unfitting_caches_are_made_anew(
    encode, true_features, tmp_path, harm
):
    encode()
    state = tmp_path / "progress.json"
    harm(state, tmp_path / "features.npy")
    np.testing.assert_allclose(encode()["features"][0], true_features, atol=1e-6)
    assert read_json(state) == {"key": "a", "n_done": N}


def test_values_beyond_float16_stay_finite(encode, open_model, monkeypatch):
    model = open_model()
    huge = np.full((22, 6, 6, 3), 1e6, np.float32)
    huge[:, 0] *= -1
    monkeypatch.setattr(model, "run", lambda _, **__: {"activations": huge})
    found = encode(n=22, model=model, outputs=("activations",))["activations"]
    assert (found.min(), found.max()) == (-65504, 65504)


def test_a_batch_is_as_large_as_was_asked_for(encode, session, monkeypatch):
    asked = []
    run = session.run

    def count(part, *, batch):
        asked.append((len(part), batch))
        return run(part, batch=batch)

    monkeypatch.setattr(session, "run", count)
    encode(batch=100)
    assert asked == [(100, 100), (50, 100)]


def test_a_disk_without_room_is_told_before_anything_is_written(
    encode, tiles, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=70 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    read = Reader(tiles)
    with pytest.raises(RunError, match=r"needs 0\.0\d GB.*free"):
        encode(read, n=100_000, outputs=("activations",))
    assert read.rows == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves no space here")
def test_a_disk_that_another_program_fills_is_an_error_not_a_crash(
    encode, true_features, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(RunError, match="No space left on device"):
        encode()
    # Some systems cannot reserve it.
    monkeypatch.delattr(os, "posix_fallocate")
    np.testing.assert_allclose(encode()["features"][0], true_features, atol=1e-6)


def test_tiles_that_cannot_be_read_and_wrong_calls_are_told(encode, tiles, tmp_path):
    def fail(rows):
        raise SlideError(f"damaged at {rows[0]}")

    with pytest.raises(ValueError, match="1, 2, 4 or 8, got 3"):
        encode(views=3)
    with pytest.raises(ModelError, match="'pooled'"):
        encode(outputs=("pooled",))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SlideError, match="damaged at 0"):
        encode(fail)
    # NumPy would spread the one tile over all rows without a word.
    with pytest.raises(ValueError, match="64 rows must give as many tiles, got 1"):
        encode(lambda rows: tiles[rows[:1]])
