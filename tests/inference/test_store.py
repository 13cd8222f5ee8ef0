import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from eosin.core import RunError
from eosin.inference import find_views, store
from eosin.inference.store import EncodedTiles, find_encoded, open_encoded
from eosin.settings import TileTraining
from eosin.tiles import apply_view
from eosin.tiles.folder import open_tile_folder
from eosin.workflows.evaluate import evaluate
from eosin.workflows.train import train

FROZEN = TileTraining(
    encoder="smallcnn",
    weights="none",
    fine_tune="none",
    epochs=2,
    cached_views=2,
    folds=2,
)
# Of each fold, the exported model is held against the trained one on so many.
N_CHECKED = 64
FIRST = np.array([0])
ONES = np.ones((1, 1, 3), np.float32)


@pytest.fixture
def folder(own_tiles):
    return open_tile_folder(own_tiles)


def make_store(folder, dimension=3, graph="g" * 64, weights=None):
    return open_encoded(
        folder, encoder="made", graph=graph, dimension=dimension, weights=weights
    )


class Model:
    """Gives the means of the colours, and may fail after some tiles."""

    def __init__(self, *, n_before_failure=10**9):
        self.outputs = {"features": (3,)}
        self.n_left, self.n_seen = n_before_failure, 0

    def run(self, tiles, *, batch=None):
        if self.n_seen >= self.n_left:
            raise KeyboardInterrupt
        self.n_seen += len(tiles)
        corner = tiles[:, :8, :16].mean((1, 2))
        return {"features": corner.astype(np.float32)}


@pytest.fixture(scope="module")
def trained(tile_folder, tmp_path_factory, counting):
    """Two folds trained on a folder of tiles in which nothing was encoded before."""
    place = tmp_path_factory.mktemp("trained")
    ignored = shutil.ignore_patterns("cache")
    shutil.copytree(tile_folder, place / "tiles", ignore=ignored)
    with counting() as counts:
        train(place / "tiles", place / "run", FROZEN)
    return place, counts


def count_tiles(folder):
    is_labelled = folder.tiles["label"].notna()
    return int(is_labelled.sum()), int((~is_labelled).sum())


def test_folds_evaluation_and_other_splits_encode_each_tile_and_view_once(
    trained, tmp_path, counting
):
    place, counts = trained
    n_labelled, n_others = count_tiles(open_tile_folder(place / "tiles"))
    # Two views of what trains, one of each unlabelled tile of a validation slide.
    n_trained = counts.total() - N_CHECKED * FROZEN.folds
    assert 2 * n_labelled < n_trained <= 2 * n_labelled + n_others
    with counting() as counts:
        evaluate(place / "run", tmp_path / "evaluation", n_bootstrap=0)
    assert counts.total() == 2 * n_labelled + n_others - n_trained
    with counting() as counts:
        evaluate(place / "run", tmp_path / "again", n_bootstrap=0)
        other = dataclasses.replace(FROZEN, folds=1, learning_rate=0.01)
        train(place / "tiles", tmp_path / "other", other)
    assert counts.total() == N_CHECKED


def test_a_killed_call_goes_on_where_it_was(folder, monkeypatch):
    monkeypatch.setattr("eosin.inference.encoding._SAVE_EVERY_S", 0)
    rows = np.arange(len(folder.tiles))
    encoded = make_store(folder)
    first, second = Model(n_before_failure=64), Model()
    with pytest.raises(KeyboardInterrupt):
        encoded.encode(rows, 1, lambda: first)
    assert not encoded.is_done(rows, 1).any()
    encoded = make_store(folder)
    encoded.encode(rows, 1, lambda: second)
    assert first.n_seen + second.n_seen == len(rows)
    whole = Model()
    with folder.open_reader() as reader:
        expected = whole.run(reader.read(rows))["features"]
    np.testing.assert_array_equal(encoded.read(1)[0], expected)
    assert not (encoded.path / "part").exists()


def test_killed_before_the_last_word_it_is_written_again(folder, monkeypatch):
    encoded, rows, model = make_store(folder), np.arange(9), Model()

    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "atomic_path", fail)
        with pytest.raises(KeyboardInterrupt):
            encoded.encode(rows, 1, lambda: model)
    assert not encoded.is_done(rows, 1).any()
    encoded.encode(rows, 1, lambda: model)
    assert encoded.is_done(rows, 1).all()
    assert model.n_seen == 9


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_views_are_read_in_their_own_order(folder, views):
    encoded, rows = make_store(folder), np.array([4, 1])
    encoded.encode(rows, 8, Model)
    with folder.open_reader() as reader:
        tiles = reader.read(rows)
    expected = [
        Model().run(apply_view(tiles, v))["features"] for v in find_views(views)
    ]
    np.testing.assert_array_equal(encoded.read(views)[:, rows], expected)
    assert not encoded.is_done(FIRST, 1).any()


def test_only_missing_tiles_are_encoded_and_known_ones_stay(folder, monkeypatch):
    monkeypatch.setattr(store, "_BLOCK_ROWS", 2)
    encoded, model = make_store(folder), Model()
    rows = np.arange(10, 15)
    many = np.arange(5 * 3, dtype=np.float32).reshape(1, 5, 3)
    encoded.put(rows[1:2], 1, many[:, 1:2])
    encoded.put(rows, 1, many)
    np.testing.assert_array_equal(encoded.read(1)[:, rows], many)
    given = np.full((8, 2, 3), 7, np.float32)
    encoded.put(np.array([2, 5]), 1, given)
    encoded.put(np.array([2, 6]), 1, given + 1)
    assert encoded.read(1)[0, [2, 5, 6], 0].tolist() == [7, 7, 8]
    encoded.encode(np.array([1, 2, 5, 6]), 1, lambda: model)
    assert model.n_seen == 1
    encoded.encode(np.array([1, 2]), 1, lambda: pytest.fail("opened"))
    encoded.put(np.array([1, 2]), 1, given)
    assert encoded.read(1)[0, 2, 0] == 7
    # Two more views of each.
    encoded.encode(np.array([1, 2]), 2, lambda: model)
    assert model.n_seen == 1 + 2 * 2


def test_space_is_taken_for_the_views_that_were_asked_for(folder, monkeypatch):
    encoded, features = make_store(folder, dimension=5000), np.ones((1, 1, 5000))

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", fail)
        with pytest.raises(RunError, match=r"features\.npy: .*No space left"):
            encoded.put(FIRST, 1, features)
    assert not encoded.is_done(FIRST, 1).any()
    one = len(folder.tiles) * 5000 * 4
    assert store._measure(encoded.path) < one
    encoded.put(FIRST, 1, features)
    assert one <= store._measure(encoded.path) < 1.2 * one


def test_an_encoder_is_found_by_what_it_computes_and_by_its_weights(folder):
    assert find_encoded(folder, graph="g" * 64) is None
    first = make_store(folder)
    assert find_encoded(folder, weights="w") is None
    assert make_store(folder, weights="w").path == first.path
    # Who does not know the weights leaves them.
    assert make_store(folder).path == first.path
    assert find_encoded(folder, weights="w").path == first.path
    assert find_encoded(folder, graph="h" * 64) is None
    (first.path / "features.npy").write_bytes(b"")
    assert find_encoded(folder, weights="w") is None
    assert make_store(folder).read(1).shape == (1, len(folder.tiles), 3)


def test_what_belongs_to_another_tile_table_or_slide_is_deleted(own_tiles, folder):
    first = make_store(folder)
    slides = folder.slides.assign(
        path=[str(own_tiles / "slides.csv")] * 10 + ["gone"] * (len(folder.slides) - 10)
    )
    changed = dataclasses.replace(folder, slides=slides)
    assert find_encoded(changed, graph=first.graph) is None
    second = make_store(changed)
    assert not first.path.exists()
    assert second.path.exists()


def test_above_the_bound_the_longest_unused_goes(folder, monkeypatch):
    stores = [make_store(folder, graph=letter * 64) for letter in "abc"]
    for age, made in zip((100, 300, 200), stores, strict=True):
        made.put(FIRST, 1, ONES)
        then = (made.path / "encoder.json").stat().st_mtime - age
        os.utime(made.path / "encoder.json", (then, then))
    size = store._measure(stores[0].path)
    monkeypatch.setattr(store, "MAX_BYTES", 2.5 * size)
    fourth = make_store(folder, graph="d" * 64)
    assert [made.path.exists() for made in stores] == [True, False, True]
    # Use counts, and what is in use stays.
    EncodedTiles(folder, stores[2].path)
    monkeypatch.setattr(store, "MAX_BYTES", 0)
    stores[2].encode(np.array([3]), 8, Model)
    left = [made.path.exists() for made in (*stores, fourth)]
    assert left == [False, False, True, False]


@pytest.mark.parametrize("what", ["folder", "lock", "store"])
def test_a_place_that_cannot_be_written_is_said(own_tiles, folder, monkeypatch, what):
    message = r"cache: encoded tiles are kept here.*allow"
    if what == "folder":
        (own_tiles / "cache").write_text("in its place")
    elif what == "lock":

        def refuse(path, **_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "touch", refuse)
    else:
        make_store(folder)
        monkeypatch.setattr(os, "access", lambda *arguments: False)
        message = "may not be written to"
    with pytest.raises(RunError, match=message):
        make_store(folder).encode(FIRST, 1, Model)


def test_what_another_command_deleted_is_said(folder):
    encoded = make_store(folder)
    shutil.rmtree(encoded.path)
    with pytest.raises(RunError, match=r"done\.npy: encoded tiles cannot be read"):
        encoded.is_done(FIRST, 1)
    with pytest.raises(RunError, match=r"features\.npy: .* deleted by another"):
        encoded.read(1)


def test_what_was_just_encoded_for_fine_tuning_stays(
    own_tiles, tmp_path, monkeypatch, counting
):
    config = dataclasses.replace(FROZEN, fine_tune="last", epochs=1, tune_epochs=1)
    found = []
    for bound in (20e9, 0):
        monkeypatch.setattr(store, "MAX_BYTES", bound)
        shutil.rmtree(own_tiles / "cache", ignore_errors=True)
        with counting() as counts:
            train(own_tiles, tmp_path / f"run-{bound:g}", config)
        found.append(counts.total())
    assert found[0] == found[1]
