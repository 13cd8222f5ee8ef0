import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import read_bag_table
from eosin.core import ConfigError, ManifestError, Progress
from eosin.settings import BagTraining, PixelTraining, TileTraining
from eosin.studies.bag_learner import BagLearner
from eosin.studies.sources import open_source
from eosin.studies.tile_learner import TileLearner
from eosin.tiles import open_tile_folder, read_manifest, write_manifest

BAGS = BagTraining(classes=("normal", "tumor"))


def test_what_is_given_decides_what_is_trained(tile_folder, mil_study, drawn_bags):
    features, cohort = mil_study / "features", mil_study / "slides.csv"
    assert open_source(tile_folder, None, None, None).settings == TileTraining()
    assert open_source(drawn_bags, None, None, None).settings == BagTraining()
    given = open_source(features, cohort, None, None)
    assert (given.settings, given.folder) == (BagTraining(), None)
    pixels = open_source(drawn_bags / "bags.parquet", None, None, PixelTraining())
    assert pixels.folder.path.samefile(tile_folder)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("features", TileTraining(), "features train a bag model.*got TileTraining"),
        ("features", PixelTraining(), "whose settings are BagTraining; got Pixel"),
        ("tiles", PixelTraining(), "from drawn bags; draw them by 'eosin bags'"),
        ("bags", TileTraining(), "BagTraining or PixelTraining; got TileTraining"),
    ],
)
def test_settings_of_another_kind_of_model_name_the_right_one(
    tile_folder, mil_study, drawn_bags, kind, settings, words
):
    given = {
        "features": (mil_study / "features", mil_study / "slides.csv"),
        "tiles": (tile_folder, None),
        "bags": (drawn_bags, None),
    }
    with pytest.raises(ConfigError, match=words):
        open_source(*given[kind], None, settings)


def test_what_is_missing_or_of_others_is_told(
    tile_folder, mil_study, drawn_bags, tmp_path
):
    with pytest.raises(ConfigError, match=r"the slide table .*--cohort slides"):
        open_source(mil_study / "features", None, None, BAGS)
    with pytest.raises(ConfigError, match="labels of their own; leave the slide table"):
        open_source(drawn_bags, mil_study / "slides.csv", None, BAGS)
    with pytest.raises(ConfigError, match=r"no drawn bags.*\(--tiles\)"):
        open_source(tile_folder, None, tile_folder, None)
    with pytest.raises(ManifestError, match="'eosin tile' or 'eosin import' has fin"):
        open_source(tmp_path, None, None, None)
    for file, words in (
        (mil_study / "slides.csv", r"slides\.csv: .*is tiled first"),
        (tile_folder / "tiles.parquet", "but no bag table"),
    ):
        with pytest.raises(ManifestError, match=words):
            open_source(file, None, None, TileTraining())
    shutil.copy(drawn_bags / "bags.parquet", tmp_path)
    with pytest.raises(ManifestError, match=r"name their folder \(--tiles\)"):
        open_source(tmp_path, None, None, None)
    assert open_source(tmp_path, None, tile_folder, None).folder is not None
    other = tmp_path / "tiles"
    shutil.copytree(tile_folder, other, ignore=shutil.ignore_patterns("cache"))
    table, info = read_manifest(other / "tiles.parquet")
    write_manifest(other / "tiles.parquet", table.iloc[:-1], info)
    with pytest.raises(ManifestError, match="drawn from other tiles than those in"):
        open_source(tmp_path, None, other, None)


def test_a_column_that_changed_is_another_input(tile_folder, tmp_path):
    tiles, hashes = tmp_path / "tiles", []
    shutil.copytree(tile_folder, tiles, ignore=shutil.ignore_patterns("cache"))
    slides = pd.read_csv(tiles / "slides.csv", dtype=str)
    for age in (50, 60):
        slides.assign(age=age).to_csv(tiles / "slides.csv", index=False)
        for columns in ((), ("age",)):
            settings = replace(BAGS, columns=columns)
            hashes.append(open_source(tiles, None, None, settings).inputs["slides.csv"])
    assert hashes[0] == hashes[2]
    assert hashes[1] != hashes[3]


def prepare_from(data, out, settings, **words):
    source = open_source(data, words.get("cohort"), words.get("tiles"), settings)
    return source.prepare(out, Progress())


@pytest.mark.parametrize(
    ("changes", "weights", "licence"),
    [
        ({"weights": "none", "encoder": "smallcnn"}, "none", "own"),
        ({"weights": "imagenet"}, "imagenet", "Keras"),
        ({"weights": "/a/mine.weights.h5"}, "mine.weights.h5", "as its file's owner"),
    ],
)
def test_a_classifier_says_where_its_weights_came_from(
    tile_folder, tmp_path, changes, weights, licence
):
    settings = TileTraining(**changes)
    study, learner, sees = prepare_from(tile_folder, tmp_path, settings)
    assert isinstance(learner, TileLearner)
    assert (study.unit, sees.weights, sees.mpp) == ("tile", weights, 1.0)
    assert sees.licence.startswith(licence)


def test_bags_of_pixels_hold_the_pixels_of_their_tiles(
    tile_folder, drawn_bags, tmp_path
):
    study, learner, sees = prepare_from(drawn_bags, tmp_path, PixelTraining())
    assert isinstance(learner, BagLearner)
    assert (study.unit, sees.dimension, sees.tile_px) == ("bag", None, 64)
    folder = open_tile_folder(tile_folder)
    table, _ = read_bag_table(drawn_bags / "bags.parquet")
    (bag,) = (bag for bag in study.bags if bag.bag_id == "test-00000")
    rows = table.loc[table["bag_id"] == bag.bag_id, "tile_id"]
    place = folder.tiles.reset_index().set_index("tile_id")["index"]
    with folder.open_reader() as reader:
        pixels = reader.read(place[rows].to_numpy())
    np.testing.assert_array_equal(bag.read(), pixels.reshape(6, -1))


def test_tiles_are_encoded_once_for_all_that_need_them(
    encoded_run, drawn_run, tmp_path
):
    """Slides and drawn bags of one encoder share what its store holds."""
    first = json.loads((encoded_run.path / "card.json").read_text())["sees"]
    store = list(encoded_run.data.glob("cache/*"))
    study, learner, sees = prepare_from(drawn_run.data, tmp_path, drawn_run.settings)
    assert isinstance(learner, BagLearner)
    assert (sees.encoder_sha256, sees.dimension) == (
        first["encoder_sha256"], first["dimension"],
    )  # fmt: skip
    assert list(encoded_run.data.glob("cache/*")) == store
    assert (tmp_path / "encoder.onnx").exists()
    assert study.bags[0].n_features == sees.dimension
