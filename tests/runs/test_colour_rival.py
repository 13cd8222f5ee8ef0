import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.runs.colour_rival import ColourRival, open_training_tiles
from eosin.runs.run import read_run
from eosin.tiles import open_tile_folder


def make_rival(run, folder=None):
    options = {"target": run.card.target, "split": "test", "n_bootstrap": 0, "seed": 0}
    return ColourRival(run, folder or open_training_tiles(run), options)


def renote(run, **notes):
    return replace(run, record={**run.record, "notes": notes})


def colour(folder, label_of):
    """Give tiles a red that follows a label, which `label_of` finds by slide."""
    tiles = folder.tiles.copy()
    label = tiles["slide_id"].map(label_of).to_numpy(float)
    tiles["mean_red"] = 150 + 20 * label + np.arange(len(tiles)) % 5
    tiles["mean_green"] = tiles["mean_blue"] = 100.0
    return replace(folder, tiles=tiles)


def test_colour_that_tells_slides_apart_is_found_out(slides_run, patients_run):
    for made, unit, n in ((slides_run, "slide", 14), (patients_run, "patient", 12)):
        run = read_run(made.path)
        folder = open_training_tiles(run)
        labels = folder.slides.set_index("slide_id")["label"] == "tumor"
        found = make_rival(run, colour(folder, labels.to_dict())).evaluate_bags()
        assert found.levels[unit].metrics["roc_auc"].value == 1
        assert found.levels[unit].n == n


def test_colour_that_tells_tiles_apart_is_found_out(folds_run):
    run = read_run(folds_run.path)
    folder = open_training_tiles(run)
    is_tumour = folder.tiles["label"].fillna(0).to_numpy(float)
    tiles = folder.tiles.assign(mean_red=150 + 20 * is_tumour)
    for column in ("mean_green", "mean_blue"):
        tiles[column] = 100.0
    coloured = replace(folder, tiles=tiles)
    found = make_rival(run, coloured).evaluate_tiles(coloured)
    assert found.levels["tile"].metrics["roc_auc"].value > 0.95
    assert found.levels["patient"].n == 10
    bare = replace(folder, tiles=tiles.drop(columns="mean_red"))
    assert make_rival(run, bare).evaluate_tiles(bare) is None


def test_a_drawn_bag_has_the_mean_colour_of_its_tiles(drawn_run, tmp_path):
    run = read_run(drawn_run.path)
    found = make_rival(run)._find_bag_colours().set_index("id")
    bags = pd.read_parquet(drawn_run.data / "bags.parquet")
    tiles = open_training_tiles(run).tiles.set_index("tile_id")
    own = tiles.loc[bags.loc[bags["bag_id"] == "val-00001", "tile_id"]]
    assert len(found) == 60
    assert found.loc["val-00001", "mean_blue"] == pytest.approx(own["mean_blue"].mean())
    assert make_rival(run).evaluate_bags().levels["bag"].n == 12
    # Other bags than those that were learnt from say nothing of them.
    (tmp_path / "bags.parquet").write_bytes(b"other bags")
    for path in (tmp_path / "gone", tmp_path / "bags.parquet"):
        other = renote(run, **{**run.notes, "bags": str(path)})
        assert make_rival(other).evaluate_bags() is None


def test_folds_of_one_class_have_no_rival(slides_run):
    run = read_run(slides_run.path)
    run.__dict__["splits"] = run.splits.assign(label="normal")
    assert make_rival(run).evaluate_bags() is None


def test_without_the_training_tiles_there_is_no_rival(slides_run, tiles_run, tmp_path):
    run = read_run(slides_run.path)
    # Features say where their tiles were.
    assert open_training_tiles(run).path.name == "tiles"
    assert open_training_tiles(renote(run)) is None
    assert open_training_tiles(renote(run, features=str(tmp_path))) is None
    (tmp_path / "run.json").write_text(json.dumps({"notes": {"tiles": "/none"}}))
    assert open_training_tiles(renote(run, features=str(tmp_path))) is None
    # Tiles that were cut anew are others.
    tiles = read_run(tiles_run.path)
    assert open_training_tiles(tiles).path == open_tile_folder(tiles_run.data).path
    card = replace(tiles.card, training_data={"tiles_sha256": "0"})
    assert open_training_tiles(replace(tiles, card=card)) is None
