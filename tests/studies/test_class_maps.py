import shutil
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from eosin.core import Progress
from eosin.exploring.held_out_tiles import EVERY_FOLD, open_held_out_tiles
from eosin.exploring.interpretation import ClassMap, draw_class_map
from eosin.models import grad_cam, load_classifier
from eosin.settings import InterpretSettings
from eosin.studies.class_maps import map_classes, write_class_maps


@pytest.fixture
def held_out(run_folder, evaluation_folder):
    return open_held_out_tiles(run_folder)


def make(held_out, **settings):
    failures = []
    settings = InterpretSettings(**({"shown": 2, "per_slide": 0} | settings))
    return map_classes(held_out, settings, failures, Progress()), failures


def test_maps_are_those_of_the_model_on_the_tile(held_out, run_folder):
    maps, failures = make(held_out)
    assert failures == []
    assert {m.kind for m in maps} >= {"right", "uncertain"}
    first = maps[0]
    with held_out.folder.open_reader(held_out.tiles) as reader:
        tile = reader.read(np.array([first.row]))
    np.testing.assert_array_equal(first.pixels, tile[0])
    model = load_classifier(run_folder / "model.keras")
    expected = grad_cam(model, tile.astype(np.float32), first.asked)[0]
    np.testing.assert_allclose(first.strength, expected, atol=1e-5)
    assert (first.layer, first.n_cells) == ("block3_relu", 8)
    for found in maps:
        assert found.label == held_out.labels[found.row]
        if found.kind != "wrong":
            assert found.asked == held_out.called[found.row]


def test_a_wrong_tile_is_asked_for_both_classes(held_out):
    labels = held_out.labels.copy()
    row = int(np.flatnonzero(labels >= 0)[0])
    held_out.labels[row] = 1 - held_out.called[row]
    maps, _ = make(held_out, shown=40)
    wrong = [m for m in maps if m.kind == "wrong" and m.row == row]
    assert [m.asked for m in wrong] == [held_out.called[row], held_out.labels[row]]


def test_a_model_that_is_gone_leaves_tiles_without_maps(
    run_folder, evaluation_folder, tmp_path
):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "model.keras").unlink()
    held_out = open_held_out_tiles(tmp_path / "run")
    maps, failures = make(held_out)
    assert [f.slide_id for f in failures] == ["model.keras"]
    assert all(m.strength is None for m in maps)
    np.testing.assert_array_equal(draw_class_map(maps[0]), maps[0].pixels)
    write_class_maps(maps, held_out, tmp_path / "maps")
    table = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert table["peak_x_px0"].isna().all()
    assert np.isnan(np.load(tmp_path / "maps" / "maps.npy")).all()


def test_tiles_of_another_cohort_get_the_mean_of_all_models(held_out):
    held_out = replace(held_out, folds=np.full(len(held_out.rows), EVERY_FOLD))
    once, _ = make(held_out)
    card = replace(held_out.card, folds=2 * held_out.card.folds)
    twice, _ = make(replace(held_out, model=replace(held_out.model, card=card)))
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_allclose(one.strength, two.strength, atol=1e-6)


def test_the_table_says_where_each_map_is_highest(held_out, tmp_path):
    tile = held_out.tiles.iloc[0]
    side = held_out.folder.info.tile_px
    pixels = np.full((side, side, 3), 200, np.uint8)
    strength = np.zeros((side, side), np.float32)
    strength[10, 20] = 1
    maps = [
        ClassMap("right", 0, 0, 0, pixels, strength, "somewhere", 8),
        ClassMap("wrong", 0, 0, 1, pixels, np.zeros_like(strength), "somewhere", 8),
    ]
    write_class_maps(maps, held_out, tmp_path / "maps", mark_px=32)
    table = pd.read_csv(tmp_path / "maps" / "maps.csv")
    scale = tile["size_px0"] / side
    assert table["peak_x_px0"][0] == int(tile["x_px0"] + 20.5 * scale)
    assert table["peak_y_px0"][0] == int(tile["y_px0"] + 10.5 * scale)
    assert np.isnan(table["peak_x_px0"][1])
    # (20, 10) lies outside the central 32 of 64 px.
    assert table["centre_share"][0] == 0
    assert np.isnan(table["centre_share"][1])
    assert table["map_of"].tolist() == list(held_out.class_names)
    assert table["tile_id"][0] == tile["tile_id"]
    picture = cv2.imread(str(tmp_path / "maps" / table["file"][0]))
    assert picture.shape == (side, 2 * side, 3)
    np.testing.assert_array_equal(picture[:, :side], 200)
    stored = np.load(tmp_path / "maps" / "maps.npy")
    np.testing.assert_array_equal(stored[0], strength)


def test_a_tile_that_cannot_be_read_is_left_out(held_out, damage):
    everything, _ = make(held_out)
    lost = everything[0].row
    damage([held_out.tiles["tile_id"][lost]])
    maps, failures = make(held_out)
    assert {m.row for m in maps} == {m.row for m in everything} - {lost}
    assert failures[0].slide_id == held_out.tiles["tile_id"][lost]


def test_a_map_is_strongest_where_it_is_highest():
    pixels = np.full((2, 2, 3), 255, np.uint8)
    strength = np.array([[0, 0], [0, 1]], np.float32)
    drawn = draw_class_map(ClassMap("right", 0, 0, 0, pixels, strength, "", 8))
    # Viridis ends in yellow, and 55 % of it are mixed in.
    np.testing.assert_allclose(
        drawn[1, 1], 0.45 * 255 + 0.55 * np.array([253, 231, 37]), atol=1.5
    )
    assert (drawn[0, 0] > drawn[1, 1]).any()


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_three_classes_are_mapped(three_classes, method, tmp_path):
    held_out = open_held_out_tiles(three_classes / "run")
    maps, _ = make(held_out, shown=1, method=method)
    assert {m.label for m in maps} == {0, 1, 2}
    write_class_maps(maps, held_out, tmp_path / "maps")
    table = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert "source" not in table
    assert table[["probability_normal", "probability_carcinoma"]].notna().all(axis=None)
