import errno
import os
import shutil

import numpy as np
import pytest

from eosin.core import ModelError, Progress, RunError, SlideError, read_json, write_json
from eosin.inference import encode_tiles, encoding, open_session, read_encoded
from eosin.tiles import apply_view

N = 150


class KilledError(BaseException):
    """Stands for whatever ends the process."""


@pytest.fixture
def save_always(monkeypatch):
    monkeypatch.setattr(encoding, "_SAVE_EVERY_S", -1.0)


def make_reader(tiles, kill_at=None):
    rows_read = []

    def read(rows):
        if kill_at is not None and kill_at in rows:
            raise KilledError
        rows_read.extend(rows.tolist())
        return tiles[rows]

    read.rows = rows_read
    return read


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_every_view_of_every_tile_is_encoded_and_read_once(
    session, tiles, tmp_path, views
):
    read = make_reader(tiles)
    found = encode_tiles(
        read, N, session, tmp_path, key="a", views=views, outputs=("activations",)
    )["activations"]
    assert found.shape == (views, N, 6, 6, 3)
    assert found.dtype == np.float16
    assert sorted(read.rows) == list(range(N))
    for index, view in enumerate(encoding.VIEW_SETS[views]):
        expected = (apply_view(tiles, view) / 255).astype(np.float16)
        np.testing.assert_allclose(found[index], expected, atol=1e-3)


def test_vectors_stay_exact_and_several_outputs_are_kept(
    session, tiles, true_features, tmp_path
):
    found = encode_tiles(
        make_reader(tiles),
        N,
        session,
        tmp_path,
        key="a",
        outputs=("features", "logits"),
    )
    assert found["features"].dtype == np.float32
    assert not found["features"].flags.writeable
    np.testing.assert_allclose(found["features"][0], true_features, atol=1e-6)
    expected = 2 * true_features[:, :1] - 1
    np.testing.assert_allclose(found["logits"][0], expected, atol=1e-6)


def test_an_augmentation_sees_its_tiles_rows_and_view(session, tiles, tmp_path):
    seen = []

    def augment(part, rows, view):
        seen.append((rows[0], len(part), view))
        return np.full_like(part, 10 * view)

    found = encode_tiles(
        make_reader(tiles),
        N,
        session,
        tmp_path,
        key="a",
        views=2,
        augment=augment,
    )["features"]
    assert seen == [
        (0, 64, 0), (0, 64, 4), (64, 64, 0), (64, 64, 4), (128, 22, 0), (128, 22, 4)
    ]  # fmt: skip
    np.testing.assert_allclose(found[1], 40 / 255, atol=1e-6)


def test_finished_work_serves_from_a_folder_that_nobody_may_write(
    session, tiles, true_features, tmp_path, monkeypatch
):
    encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
    load = np.load

    def refuse_writing(path, mmap_mode=None, **options):
        if mmap_mode != "r":
            raise PermissionError(path)
        return load(path, mmap_mode=mmap_mode, **options)

    monkeypatch.setattr(np, "load", refuse_writing)
    found = encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")["features"]
    np.testing.assert_allclose(found[0], true_features, atol=1e-6)


def test_a_reader_that_gives_too_few_tiles_is_an_error(session, tiles, tmp_path):
    # NumPy would spread the one tile over all rows without a word.
    with pytest.raises(ValueError, match="64 rows must give as many tiles, got 1"):
        encode_tiles(lambda rows: tiles[rows[:1]], N, session, tmp_path, key="a")


def test_finished_work_is_not_done_again(session, tiles, tmp_path):
    first = encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
    again = make_reader(tiles)
    second = encode_tiles(again, N, session, tmp_path, key="a")
    assert again.rows == []
    np.testing.assert_array_equal(first["features"], second["features"])


@pytest.mark.usefixtures("save_always")
@pytest.mark.parametrize("kill_at", [10, 70, 149])
def test_a_killed_run_goes_on_to_the_same_result(session, tiles, tmp_path, kill_at):
    options = {"key": "a", "views": 4, "outputs": ("features", "activations")}
    whole = encode_tiles(make_reader(tiles), N, session, tmp_path / "w", **options)
    with pytest.raises(KilledError):
        encode_tiles(make_reader(tiles, kill_at), N, session, tmp_path / "k", **options)
    rest = make_reader(tiles)
    resumed = encode_tiles(rest, N, session, tmp_path / "k", **options)
    assert min(rest.rows) == kill_at // 64 * 64
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


def test_a_wrong_key_is_never_reused(session, tiles, tmp_path):
    encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
    other = make_reader(255 - tiles)
    found = encode_tiles(other, N, session, tmp_path, key="b")["features"]
    assert len(other.rows) == N
    np.testing.assert_allclose(found[0], 1 - tiles.mean(axis=(1, 2)) / 255, atol=1e-6)


def test_arrays_of_a_killed_other_key_do_not_pass_for_the_old_ones(
    session, tiles, true_features, tmp_path
):
    encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
    with pytest.raises(KilledError):
        encode_tiles(make_reader(tiles, 0), N, session, tmp_path, key="b")
    found = encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")["features"]
    np.testing.assert_allclose(found[0], true_features, atol=1e-6)


def test_damaged_or_unfitting_caches_are_made_anew(
    session, tiles, true_features, tmp_path
):
    def damage_state():
        (tmp_path / "progress.json").write_text("{")

    def change_state():
        write_json(tmp_path / "progress.json", ["a"])

    def lose_count():
        write_json(tmp_path / "progress.json", {"key": "a"})

    def count_too_many():
        write_json(tmp_path / "progress.json", {"key": "a", "n_done": N + 1})

    def lose_array():
        (tmp_path / "features.npy").unlink()

    def cut_array():
        (tmp_path / "features.npy").write_bytes(b"\x93NUMPY")

    def change_shape():
        np.save(tmp_path / "features.npy", np.zeros((1, N, 4), np.float32))

    def change_type():
        np.save(tmp_path / "features.npy", np.zeros((1, N, 3), np.float64))

    for harm in (
        damage_state, change_state, lose_count, count_too_many, lose_array, cut_array,
        change_shape, change_type,
    ):  # fmt: skip
        encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
        harm()
        found = encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
        np.testing.assert_allclose(found["features"][0], true_features, atol=1e-6)
        assert read_json(tmp_path / "progress.json") == {"key": "a", "n_done": N}


def test_values_beyond_float16_stay_finite(write_model, tmp_path, tiles, monkeypatch):
    session = open_session(write_model(tmp_path / "m.onnx"))
    huge = np.full((22, 6, 6, 3), 1e6, np.float32)
    huge[:, 0] *= -1
    monkeypatch.setattr(session, "run", lambda _, **__: {"activations": huge})
    found = encode_tiles(
        make_reader(tiles), 22, session, tmp_path, key="a", outputs=("activations",)
    )["activations"]
    assert found.max() == 65504
    assert found.min() == -65504


def test_a_batch_is_as_large_as_was_asked_for(session, tiles, tmp_path, monkeypatch):
    asked = []
    run = session.run

    def count(part, *, batch):
        asked.append((len(part), batch))
        return run(part, batch=batch)

    monkeypatch.setattr(session, "run", count)
    encode_tiles(make_reader(tiles), N, session, tmp_path, key="a", batch=100)
    assert asked == [(100, 100), (50, 100)]


def test_no_tiles_give_empty_arrays(session, tiles, tmp_path):
    for _ in range(2):
        found = encode_tiles(make_reader(tiles), 0, session, tmp_path, key="a")
        assert found["features"].shape == (1, 0, 3)


def test_progress_counts_tiles_done_before(session, tiles, tmp_path, save_always):
    del save_always
    with pytest.raises(KilledError):
        encode_tiles(make_reader(tiles, 140), N, session, tmp_path, key="a")
    advances = []

    class Listener(Progress):
        def task(self, name, total):
            assert (name, total) == ("Encoding tiles", N)
            return super().task(name, total)

    def advance(self, n=1, note=""):
        del self, note
        advances.append(n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eosin.core.Task.advance", advance)
        encode_tiles(
            make_reader(tiles), N, session, tmp_path, key="a", progress=Listener()
        )
    assert advances == [128, 22]


def test_a_disk_without_room_is_told_before_anything_is_written(
    session, tiles, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=70 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    read = make_reader(tiles)
    with pytest.raises(RunError, match=r"needs 0\.0\d GB.*free"):
        encode_tiles(
            read, 100_000, session, tmp_path, key="a", outputs=("activations",)
        )
    assert read.rows == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves no space here")
def test_a_disk_that_another_program_fills_is_an_error_not_a_crash(
    session, tiles, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(RunError, match="No space left on device"):
        encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")


def test_space_is_not_reserved_where_the_system_cannot(
    session, tiles, true_features, tmp_path, monkeypatch
):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    found = encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
    np.testing.assert_allclose(found["features"][0], true_features, atol=1e-6)


def test_an_unreadable_tile_stops_the_encoding(session, tmp_path):
    def read(rows):
        raise SlideError(f"damaged at {rows[0]}")

    with pytest.raises(SlideError, match="damaged at 0"):
        encode_tiles(read, N, session, tmp_path, key="a")


def test_wrong_calls_are_refused(session, tiles, tmp_path):
    read = make_reader(tiles)
    with pytest.raises(ValueError, match="1, 2, 4 or 8, got 3"):
        encode_tiles(read, N, session, tmp_path, key="a", views=3)
    with pytest.raises(ModelError, match="'pooled'"):
        encode_tiles(read, N, session, tmp_path, key="a", outputs=("pooled",))
    assert list(tmp_path.iterdir()) == []


def test_finished_arrays_are_read_back_and_others_are_not(session, tiles, tmp_path):
    found = encode_tiles(make_reader(tiles), N, session, tmp_path, key="a")
    again = read_encoded(tmp_path, "a", N, "features")
    np.testing.assert_array_equal(again, found["features"])
    for key, n_tiles, output in (
        ("b", N, "features"),
        ("a", N + 1, "features"),
        ("a", N, "activations"),
    ):
        assert read_encoded(tmp_path, key, n_tiles, output) is None
    assert read_encoded(tmp_path / "none", "a", N, "features") is None
