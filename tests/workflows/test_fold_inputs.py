import dataclasses

import numpy as np
import pytest

from eosin.core import Progress
from eosin.workflows import fold_inputs
from eosin.workflows.fold_inputs import FoldInputs
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.tile_splits import assign_splits
from eosin.workflows.train_tiles import TrainConfig

LAST = TrainConfig(
    encoder="smallcnn",
    weights="none",
    fine_tune="last",
    cached_views=1,
    seed=3,
    stain_jitter=0.1,
)


def make_inputs(tile_folder, config=LAST):
    folder = open_tile_folder(tile_folder)
    return FoldInputs(folder, assign_splits(folder, config), config, Progress())


def test_held_out_and_unlabelled_tiles_are_not_among_the_inputs(tile_folder):
    inputs = make_inputs(tile_folder)
    folder = open_tile_folder(tile_folder)
    splits = assign_splits(folder, LAST)
    test = set(splits.loc[splits["split"] == "test", "slide_id"])
    assert not test & set(inputs.tiles["slide_id"])
    assert inputs.tiles["label"].notna().all()
    tiles = inputs.arrange(0)
    assert len(tiles.train_rows) + len(tiles.val_rows) == len(inputs.tiles)


def test_features_of_a_cache_for_the_last_block_serve_the_head(
    tile_folder, monkeypatch
):
    inputs = make_inputs(tile_folder)
    first = inputs.encode(inputs.build())
    assert first["activations"].ndim == 5
    monkeypatch.setattr(fold_inputs, "export_onnx", lambda *a: pytest.fail("exported"))
    head = make_inputs(tile_folder, dataclasses.replace(LAST, fine_tune="none"))
    second = head.encode(head.build())
    assert list(second) == ["features"]
    np.testing.assert_array_equal(second["features"], first["features"])


def test_other_weights_are_encoded_anew(tile_folder):
    inputs = make_inputs(tile_folder)
    other = make_inputs(tile_folder, dataclasses.replace(LAST, seed=4))
    first = inputs.encode(inputs.build())["features"]
    second = other.encode(other.build())["features"]
    assert not np.array_equal(first, second)
