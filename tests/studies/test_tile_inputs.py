from dataclasses import replace

import numpy as np
import pytest

from eosin.core import Progress
from eosin.settings import TileTraining
from eosin.studies import tile_inputs
from eosin.studies.splits import split_tiles
from eosin.studies.tile_inputs import TileInputs
from eosin.tiles import open_tile_folder

LAST = TileTraining(
    encoder="smallcnn",
    weights="none",
    fine_tune="last",
    cached_views=1,
    seed=3,
    stain_jitter=0.1,
)


def make_inputs(tile_folder, settings=LAST):
    folder = open_tile_folder(tile_folder)
    return TileInputs(folder, split_tiles(folder, settings), settings, Progress())


def test_held_out_and_unlabelled_tiles_are_not_among_the_inputs(tile_folder):
    inputs, folder = make_inputs(tile_folder), open_tile_folder(tile_folder)
    splits = split_tiles(folder, LAST)
    test = set(splits.loc[splits["split"] == "test", "slide_id"])
    assert not test & set(inputs.tiles["slide_id"])
    assert inputs.tiles["label"].notna().all()
    tiles = inputs.arrange(0)
    assert len(tiles.train_rows) + len(tiles.val_rows) == len(inputs.tiles)
    # Those that are scored have labels or not.
    assert set(inputs.find_tiles(0, "test")["slide_id"]) == test
    assert inputs.find_tiles(0, "test")["label"].isna().any()


def test_features_of_a_cache_for_the_last_block_serve_the_head(
    tile_folder, monkeypatch
):
    inputs = make_inputs(tile_folder)
    first = inputs.encode(inputs.build())
    assert first["activations"].ndim == 5
    monkeypatch.setattr(tile_inputs, "export_onnx", lambda *a: pytest.fail("exported"))
    head = make_inputs(tile_folder, replace(LAST, fine_tune="none"))
    second = head.encode(head.build())
    assert list(second) == ["features"]
    np.testing.assert_array_equal(second["features"], first["features"])


def test_other_weights_are_encoded_anew(tile_folder):
    features = []
    for seed in (3, 4):
        inputs = make_inputs(tile_folder, replace(LAST, seed=seed))
        features.append(inputs.encode(inputs.build())["features"])
    assert not np.array_equal(*features)
