import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.core import ModelError, SlideError
from eosin.evaluation import compute_probabilities
from eosin.models import load_mil_model, mil_prediction
from eosin.slides import open_slide, write_pyramid
from eosin.workflows import mil_pixel_prediction as module
from eosin.workflows.mil_bag_prediction import read_bag_rows
from eosin.workflows.mil_pixel_prediction import (
    PixelJob,
    PixelPredictor,
    TilePixels,
    find_tiling,
)
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import MILEnsemble, open_mil_run
from eosin.workflows.tile_folder import open_tile_folder


@pytest.fixture(scope="module")
def run(pixel_study):
    return open_mil_run(pixel_study / "run")


@pytest.fixture(scope="module")
def ensemble(run):
    return MILEnsemble(run)


@pytest.fixture
def predict(run, ensemble, tmp_path):
    predictor = PixelPredictor(run, ensemble, MILPredictConfig(), tmp_path)

    def score(slide_id, path):
        predictor.predict(PixelJob(slide_id, str(path), None, slide_id, "key"))
        return read_bag_rows(tmp_path, slide_id)[0]

    return score


def change(run, **content):
    card = {**run.card, **content}
    return replace(run, card=card)


def find_slide(tile_folder):
    folder = open_tile_folder(tile_folder)
    counts = folder.tiles.groupby("slide_id").size()
    slide = folder.slides.set_index("slide_id").loc[counts.idxmax()]
    tiles = folder.tiles[folder.tiles["slide_id"] == slide.name]
    with folder.open_reader(tiles) as reader:
        pixels = reader.read(np.arange(len(tiles)))
    return slide.name, slide["path"], tiles, pixels


def test_a_slide_in_chunks_is_called_like_the_whole_bag_at_once(
    tile_folder, run, predict, tmp_path, monkeypatch
):
    """Tiles lie where those of the training lie, and chunks change nothing."""
    name, path, tiles, pixels = find_slide(tile_folder)
    monkeypatch.setattr(mil_prediction, "_MAX_TILES", 10)
    read, sizes = module.TilePixels.__getitem__, []

    def watch(self, rows):
        found = read(self, rows)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(module.TilePixels, "__getitem__", watch)
    row = predict(name, path)
    # Memory is bounded, and every tile is read once for both models.
    assert max(sizes) == 10 < len(tiles)
    assert sum(sizes) == len(tiles) == row["tiles"]
    bag = pixels.reshape(1, len(tiles), -1).astype(np.float32)
    inputs = {"features": bag, "mask": np.ones((1, len(tiles)), bool)}
    models = [load_mil_model(run.path / file) for file in run.models[0]]
    whole = [model.predict_on_batch(inputs) for model in models]
    logits = np.mean([out["logits"] for out in whole], axis=0)
    expected = compute_probabilities(logits, run.temperature)[0]
    assert row["probability_tumor"] == pytest.approx(expected[1], abs=1e-5)
    times = np.mean([out["attention"][0] for out in whole], axis=0) * len(tiles)
    assert row["highest_attention"] == pytest.approx(times.max(), rel=1e-3)
    features = json.loads((tmp_path / f"{name}.geojson").read_text())["features"]
    first = next(f for f in features if f["properties"]["objectType"] == "tile")
    best = tiles.iloc[times.argmax()]
    corner = np.min(first["geometry"]["coordinates"][0], axis=0)
    assert corner.tolist() == [best["x_px0"], best["y_px0"]]
    for suffix in ("heatmap.tif", "heatmap-colour.tif", "overlay.jpg", "gallery.png"):
        assert (tmp_path / f"{name}.{suffix}").exists()


def test_tiles_that_cannot_be_read_are_left_out(
    tile_folder, predict, tmp_path, monkeypatch
):
    name, path, tiles, _ = find_slide(tile_folder)
    bad = tiles.iloc[[3, 10]][["x_px0", "y_px0"]].to_numpy().tolist()

    @contextmanager
    def open_damaged(path, **options):
        with open_slide(path, **options) as slide:
            read = slide.read_tiles

            def read_tiles(boxes, out):
                if any(box[:2].tolist() in bad for box in boxes):
                    raise SlideError("a part is cut short")
                read(boxes, out)

            slide.read_tiles = read_tiles
            yield slide

    monkeypatch.setattr(module, "open_slide", open_damaged)
    row = predict(name, path)
    assert (row["tiles"], row["damaged_tiles"]) == (len(tiles) - 2, 2)
    # A slide without one tile that can be read fails.
    bad += tiles[["x_px0", "y_px0"]].to_numpy().tolist()
    with pytest.raises(SlideError, match="cut short"):
        predict(name, path)
    assert not (tmp_path / "parts" / f"{name}.json").exists()
    assert not (tmp_path / f"{name}.overlay.jpg").exists()


def test_pictures_that_cannot_be_drawn_cost_no_call(
    tile_folder, predict, tmp_path, monkeypatch
):
    def fail(*_arguments, **_options):
        raise SlideError("no thumbnail")

    monkeypatch.setattr("eosin.workflows.mil_writing.write_gallery", fail)
    name, path, _, _ = find_slide(tile_folder)
    row = predict(name, path)
    assert row["note"] == "no pictures: the slide cannot be read (no thumbnail)"
    assert (tmp_path / f"{name}.geojson").exists()
    assert not (tmp_path / f"{name}.overlay.jpg").exists()


def test_a_slide_without_tissue_is_no_failure(predict, tmp_path):
    blank = np.full((512, 512, 3), 245, np.uint8)
    write_pyramid(tmp_path / "blank.tif", blank, mpp=1.0)
    row = predict("blank", tmp_path / "blank.tif")
    assert (row["status"], row["tiles"]) == ("no tissue", 0)
    assert row["note"] == "no tissue was found on it"


def test_patients_and_slides_of_the_training_are_known(tile_folder, run, predict):
    sources = pd.read_csv(run.path / "sources.csv")
    slides = open_tile_folder(tile_folder).slides.set_index("slide_id")
    for split, is_seen in (("train", True), ("val", True), ("test", False)):
        name = sources.loc[sources["split"] == split, "slide_id"].iloc[0]
        assert predict(name, slides.loc[name, "path"])["seen_in_training"] == is_seen


def test_tiles_are_cut_as_the_run_says(run):
    assert find_tiling(run).spec.mpp == 1
    cut = find_tiling(change(run, tile_px=32, overlap_px=8, tissue="density"))
    assert (cut.spec.tile_px, cut.spec.overlap_px, cut.tissue) == (32, 8, "density")
    with pytest.raises(ModelError, match="import them with --mpp"):
        find_tiling(change(run, mpp=None))
    card = {k: v for k, v in run.card.items() if k != "tissue"}
    old = replace(run, card=card)
    with pytest.raises(ModelError, match=r"\(no tissue\); train again"):
        find_tiling(old)


def test_pixels_are_read_by_row():
    tiles = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
    pixels = TilePixels(lambda rows: tiles[rows], np.array([4, 0, 2]), 2)
    assert pixels.shape == (3, 12)
    np.testing.assert_array_equal(pixels[1:], tiles[[0, 2]].reshape(2, 12))
    np.testing.assert_array_equal(pixels[[0]], tiles[[4]].reshape(1, 12))
