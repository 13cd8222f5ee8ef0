import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import read_bag_table
from eosin.workflows.mil_colours import evaluate_mean_colour, find_slide_colours
from eosin.workflows.mil_run import open_mil_run

OPTIONS = {"split": "test", "n_bootstrap": 20, "seed": 0}


@pytest.fixture(scope="module")
def run(mil_study):
    return open_mil_run(mil_study / "run")


def change(run, **content):
    return replace(run, **content)


def test_a_slide_has_the_mean_colour_of_its_tiles(mil_study, run):
    found = find_slide_colours(run).set_index("tile_id")
    tiles = pd.read_parquet(mil_study / "tiles" / "tiles.parquet")
    own = tiles[tiles["slide_id"] == "M4"]
    assert found.loc["M4", "mean_green"] == pytest.approx(own["mean_green"].mean())
    assert len(found) == 14


def test_colour_that_tells_the_class_is_found_out(run, monkeypatch):
    """Of slides whose red follows their label, colour alone tells them apart."""
    names = [f"M{i}" for i in range(14)]
    label = np.array([i % 12 % 2 for i in range(14)])
    colours = pd.DataFrame({"tile_id": names, "slide_id": names})
    colours["mean_red"] = 150.0 + 20 * label + np.arange(14)
    colours["mean_green"] = colours["mean_blue"] = 100.0 + np.arange(14) % 3
    module = "eosin.workflows.mil_colours.find_slide_colours"
    monkeypatch.setattr(module, lambda _run: colours)
    found = evaluate_mean_colour(run, OPTIONS | {"class_names": run.class_names})
    assert found.levels["slide"].metrics["roc_auc"].value > 0.9
    assert found.levels["patient"].n == 12


def test_without_tiles_or_colours_there_is_no_rival(mil_study, run, tmp_path):
    options = OPTIONS | {"class_names": run.class_names}
    bare = change(run, record={"notes": {}})
    assert evaluate_mean_colour(bare, options) is None
    gone = change(run, record={"notes": {"features": str(tmp_path)}})
    assert evaluate_mean_colour(gone, options) is None
    shutil.copy(mil_study / "features" / "run.json", tmp_path)
    (tmp_path / "run.json").write_text('{"notes": {"tiles": "/none"}}')
    assert evaluate_mean_colour(gone, options) is None


def test_folds_of_one_class_have_no_rival(run):
    splits = run.splits.assign(label="normal")
    options = OPTIONS | {"class_names": run.class_names}
    assert evaluate_mean_colour(change(run, splits=splits), options) is None


def test_a_drawn_bag_has_the_mean_colour_of_its_tiles(
    pixel_study, tile_folder, tmp_path
):
    run = open_mil_run(pixel_study / "run")
    found = find_slide_colours(run).set_index("tile_id")
    bags, _ = read_bag_table(pixel_study / "bags" / "bags.parquet")
    tiles = pd.read_parquet(tile_folder / "tiles.parquet").set_index("tile_id")
    own = tiles.loc[bags.loc[bags["bag_id"] == "val-00001", "tile_id"]]
    assert len(found) == 60
    assert found.loc["val-00001", "mean_blue"] == pytest.approx(own["mean_blue"].mean())
    options = OPTIONS | {"class_names": run.class_names}
    assert evaluate_mean_colour(run, options).levels["slide"].n == 12

    def find_with(**notes):
        record = {**run.record, "notes": {**run.record["notes"], **notes}}
        return find_slide_colours(change(run, record=record))

    assert find_with(bags=str(tmp_path / "gone")) is None
    assert find_with(tiles=str(tmp_path / "gone")) is None
    (tmp_path / "bags.parquet").write_bytes(b"other bags")
    assert find_with(bags=str(tmp_path / "bags.parquet")) is None
    # Other tiles, such as half of them, are not those that the bags were drawn from.
    other = {**run.record, "inputs": {**run.record["inputs"], "tiles": "0"}}
    assert find_slide_colours(change(run, record=other)) is None
