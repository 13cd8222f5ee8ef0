import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from shapely import box
from shapely.geometry import shape

from eosin.bags import FeatureFile
from eosin.core import Box, ConfigError, RunError, SlideError
from eosin.slides import open_slide
from eosin.workflows import mil_writing
from eosin.workflows import predict_mil as module
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.predict_mil import predict_mil
from eosin.workflows.train_mil import MILStudyConfig, train_mil_study

WITNESS = 20
FILES = (".geojson", ".heatmap.tif", ".heatmap-colour.tif", ".overlay.jpg")


@pytest.fixture(scope="module")
def predicted(mil_study):
    return predict_mil(
        mil_study / "run", mil_study / "features", MILPredictConfig(), mil_study / "out"
    )


@pytest.fixture
def others(plant_witnesses, tmp_path):
    """Features without slides: one with witnesses, one without."""
    return plant_witnesses(tmp_path / "others", {"E0": 0, "E1": 1})


def read_features(path):
    return json.loads(path.read_text())["features"]


def find_witness_box(features, slide_id):
    coords = FeatureFile(features / f"{slide_id}.h5").read_dataset("coords")
    x, y = (int(v) for v in coords[WITNESS])
    return box(x, y, x + 64, y + 64)


def test_every_slide_is_called_and_mapped(mil_study, predicted):
    slides = predicted.slides.set_index("slide_id")
    truth = pd.read_csv(mil_study / "slides.csv").set_index("slide_id")["label"]
    assert (slides["label"] == truth.loc[slides.index]).mean() > 0.9
    total = slides["probability_normal"] + slides["probability_tumor"]
    assert total.tolist() == pytest.approx([1] * 14)
    assert slides["seen_in_training"].all()
    for slide_id in slides.index:
        for suffix in FILES:
            assert (predicted.folder / f"{slide_id}{suffix}").exists()
            assert (predicted.folder / f"{slide_id}.instances{suffix}").exists()
        assert (predicted.folder / f"{slide_id}.gallery.png").exists()
    assert pd.read_csv(predicted.folder / "failures.csv").empty


def test_patients_get_the_slide_in_which_most_was_found(predicted):
    patients = pd.read_csv(predicted.folder / "patients.csv").set_index("patient_id")
    slides = predicted.slides.set_index("slide_id")
    # Without a slide table, each slide is its own patient.
    assert patients.loc["M1", "probability_tumor"] == pytest.approx(
        slides.loc["M1", "probability_tumor"]
    )


def test_the_witness_has_most_attention_and_its_outline_its_box(mil_study, predicted):
    """The tile that stands out most is marked on its very place."""
    best = find_witness_box(mil_study / "features", "M1")
    features = read_features(predicted.folder / "M1.geojson")
    tiles = [f for f in features if f["properties"]["objectType"] == "tile"]
    measured = [f["properties"]["measurements"] for f in tiles]
    times = [m["Attention over 1/n"] for m in measured]
    assert times == sorted(times, reverse=True)
    assert shape(tiles[0]["geometry"]).equals(best)
    assert measured[0]["Attention rank"] == 1
    assert "Tile probability of tumor" in measured[0]
    regions = [f for f in features if f["properties"]["objectType"] == "annotation"]
    outlined = [shape(f["geometry"]) for f in regions]
    assert any(region.covers(best) for region in outlined)


def test_the_rank_is_highest_where_the_witness_lies(mil_study, predicted):
    raster = tifffile.imread(predicted.folder / "M1.heatmap.tif", level=0)
    with open_slide(mil_study / "M1.tif") as slide:
        scale = slide.dimensions[0] / raster.shape[1]
    left, top, _, _ = find_witness_box(mil_study / "features", "M1").bounds
    assert raster.max() == pytest.approx(1)
    assert raster[int((top + 32) / scale), int((left + 32) / scale)] == (
        pytest.approx(1)
    )
    with tifffile.TiffFile(predicted.folder / "M1.heatmap.tif") as file:
        assert "rank among the tiles, mean of 3 folds" in file.pages[0].description


def test_the_gallery_begins_with_the_witness(mil_study, predicted):
    with Image.open(predicted.folder / "M1.gallery.png") as sheet:
        first = np.asarray(sheet)[6 : 6 + 128, 6 : 6 + 128]
    left, top, _, _ = find_witness_box(mil_study / "features", "M1").bounds
    with open_slide(mil_study / "M1.tif") as slide:
        pixels = np.empty((1, 64, 64, 3), np.uint8)
        slide.read_tiles(np.array([[left, top, 64, 64]], np.int64), pixels)
    small = np.asarray(Image.fromarray(first).resize((64, 64)))
    assert np.abs(small.astype(int) - pixels[0]).mean() < 12


def test_the_page_states_the_scale(predicted):
    text = (predicted.folder / "attention.html").read_text()
    assert "times 1/n" in text
    assert "the mean over all models of all folds" in text
    assert "something is always the brightest" in text
    assert text.count("data:image/jpeg") == 28


def test_the_offset_of_scanned_bounds_is_subtracted(mil_study, tmp_path, monkeypatch):
    """QuPath counts from the corner of the bounds; the heatmap from the scan's."""

    def open_with_bounds(path, **options):
        slide = open_slide(path, **options)
        slide.bounds = Box(40, 24, 600, 360)
        return slide

    monkeypatch.setattr("eosin.workflows.mil_slides.open_slide", open_with_bounds)
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(mil_study / "features" / "M1.h5", one)
    shutil.copy(mil_study / "features" / "run.json", one)
    predict_mil(mil_study / "run", one, MILPredictConfig(), tmp_path / "out")
    tiles = [
        f
        for f in read_features(tmp_path / "out" / "M1.geojson")
        if f["properties"]["objectType"] == "tile"
    ]
    left, top, right, bottom = find_witness_box(one, "M1").bounds
    assert shape(tiles[0]["geometry"]).bounds == (
        left - 40,
        top - 24,
        right - 40,
        bottom - 24,
    )


def test_a_second_call_does_only_what_is_missing(mil_study, others, tmp_path):
    out = tmp_path / "out"
    words = (mil_study / "run", others, MILPredictConfig(), out)
    predict_mil(*words)
    before = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    (out / "parts" / "E1.json").unlink()
    predict_mil(*words)
    after = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert after[out / "parts" / "E0.json"] == before[out / "parts" / "E0.json"]
    assert out / "parts" / "E1.json" in after
    with pytest.raises(RunError, match=r"outline_from was 2.0, is 3"):
        predict_mil(*words[:2], MILPredictConfig(outline_from=3), out)


def test_nothing_is_loaded_where_all_is_done(mil_study, predicted, monkeypatch):
    monkeypatch.setattr(module, "MILEnsemble", None)
    again = predict_mil(
        mil_study / "run", mil_study / "features", MILPredictConfig(), mil_study / "out"
    )
    assert again.slides["probability_tumor"].tolist() == (
        predicted.slides["probability_tumor"].tolist()
    )


def test_slides_that_are_not_at_hand_are_mapped_without_pictures(
    mil_study, others, tmp_path
):
    result = predict_mil(mil_study / "run", others, MILPredictConfig(), tmp_path / "o")
    row = result.slides.set_index("slide_id").loc["E1"]
    assert row["label"] == "tumor"
    assert not row["seen_in_training"]
    assert row["note"].startswith("no pictures: the slide is not at hand")
    assert not (tmp_path / "o" / "E1.overlay.jpg").exists()
    raster = tifffile.imread(tmp_path / "o" / "E1.heatmap.tif", level=0)
    # 640 x 384 px of level 0, cells of 64.
    assert raster.shape == (6, 10)
    assert raster[20 // 8, 20 % 8] == pytest.approx(1)
    tiles = read_features(tmp_path / "o" / "E1.geojson")
    best = next(f for f in tiles if f["properties"]["objectType"] == "tile")
    assert shape(best["geometry"]).bounds == (256, 128, 320, 192)


def test_a_bad_file_is_listed_and_the_rest_goes_on(mil_study, others, tmp_path):
    (others / "E2.h5").write_bytes(b"no features")
    with h5py.File(others / "E3.h5", "w") as file:
        file["features"] = np.full((4, 6), np.nan, np.float32)
        file["coords"] = np.zeros((4, 2), np.int64)
    shutil.copy(others / "E0.h5", others / "E4.h5")
    with h5py.File(others / "E4.h5", "a") as file:
        file["features"].attrs["encoder"] = file.attrs["encoder"] = "another"
    out = tmp_path / "out"
    result = predict_mil(mil_study / "run", others, MILPredictConfig(), out)
    failures = pd.read_csv(out / "failures.csv").set_index("slide_id")["message"]
    assert sorted(failures.index) == ["E2", "E3", "E4"]
    assert "not an HDF5 file" in failures["E2"]
    assert "must be finite" in failures["E3"]
    assert "trained on features of the encoder made" in failures["E4"]
    status = pd.read_csv(out / "slides.csv").set_index("slide_id")["status"]
    assert status.to_dict() == {
        "E0": "done",
        "E1": "done",
        "E2": "failed",
        "E3": "failed",
        "E4": "failed",
    }
    # Mended, one is done anew; the others, not asked for again, stay as they were.
    (others / "E3.h5").unlink()
    (others / "E4.h5").unlink()
    shutil.copy(others / "E0.h5", others / "E2.h5")
    again = predict_mil(mil_study / "run", others, MILPredictConfig(), out)
    assert len(result.failures) == 3
    assert sorted(failure.slide_id for failure in again.failures) == ["E3", "E4"]
    status = pd.read_csv(out / "slides.csv").set_index("slide_id")["status"]
    assert status[["E2", "E3", "E4"]].tolist() == ["done", "failed", "failed"]


def test_a_slide_table_says_which_and_of_whom(mil_study, predicted, tmp_path):
    table = pd.read_csv(mil_study / "slides.csv").iloc[[1, 13]]
    table["path"] = [str(mil_study / path) for path in table["path"]]
    table.loc[99] = {"slide_id": "gone", "path": "gone.tif", "patient_id": "G"}
    table.to_csv(tmp_path / "slides.csv", index=False)
    result = predict_mil(
        mil_study / "run",
        mil_study / "features",
        MILPredictConfig(gallery_tiles=0, tile_objects=0),
        tmp_path / "out",
        slides=tmp_path / "slides.csv",
    )
    assert result.slides["slide_id"].tolist() == ["M1", "M13"]
    assert [f.slide_id for f in result.failures] == ["gone"]
    patients = pd.read_csv(tmp_path / "out" / "patients.csv")
    assert patients["slides"].tolist() == [2]
    assert patients["probability_tumor"][0] == pytest.approx(
        result.slides["probability_tumor"].max()
    )
    assert not (tmp_path / "out" / "M1.gallery.png").exists()
    assert (tmp_path / "out" / "M1.overlay.jpg").exists()


def test_a_damaged_slide_costs_its_pictures_only(mil_study, tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise SlideError("a tile is cut short")

    monkeypatch.setattr(mil_writing, "write_gallery", fail)
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(mil_study / "features" / "M1.h5", one)
    shutil.copy(mil_study / "features" / "run.json", one)
    result = predict_mil(mil_study / "run", one, MILPredictConfig(), tmp_path / "out")
    assert "cannot be read (a tile is cut short)" in result.slides["note"][0]
    assert (tmp_path / "out" / "M1.geojson").exists()
    assert not (tmp_path / "out" / "M1.overlay.jpg").exists()


def test_files_without_places_are_called_without_maps(mil_study, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    features = FeatureFile(mil_study / "features" / "M1.h5")[:]
    with h5py.File(folder / "B1.h5", "w") as file:
        file["features"] = features
    # Places alone: neither size nor resolution.
    with h5py.File(folder / "B2.h5", "w") as file:
        file["features"] = features
        file["coords"] = 50 * np.stack(
            np.unravel_index(np.arange(len(features)), (len(features) // 8, 8)), 1
        )
    result = predict_mil(mil_study / "run", folder, MILPredictConfig(), tmp_path / "o")
    slides = result.slides.set_index("slide_id")
    assert (slides["label"] == "tumor").all()
    assert "do not say where tiles lie" in slides.loc["B1", "note"]
    assert "no TIFF and no areas" in slides.loc["B2", "note"]
    tiles = read_features(tmp_path / "o" / "B2.geojson")
    best = next(f for f in tiles if f["properties"]["objectType"] == "tile")
    x0, y0, x1, y1 = shape(best["geometry"]).bounds
    assert (x1 - x0, y1 - y0) == (50, 50)
    assert not (tmp_path / "o" / "B1.geojson").exists()


def test_bags_of_patients_share_their_attention_among_slides(mil_study, tmp_path):
    config = MILStudyConfig(
        classes=("normal", "tumor"),
        aggregator="mean",
        per="patient",
        folds=3,
        widths=(8,),
        epochs=2,
        n_bootstrap=0,
    )
    run = tmp_path / "run"
    train_mil_study(mil_study / "features", mil_study / "slides.csv", config, run)
    table = pd.read_csv(mil_study / "slides.csv").iloc[[1, 13]]
    table["path"] = [str(mil_study / path) for path in table["path"]]
    table.to_csv(tmp_path / "slides.csv", index=False)
    result = predict_mil(
        run,
        mil_study / "features",
        MILPredictConfig(),
        tmp_path / "out",
        slides=tmp_path / "slides.csv",
    )
    assert result.slides["slide_id"].tolist() == ["M1", "M13"]
    first, second = result.slides["probability_tumor"]
    assert first == second
    # A mean attends to all alike, whichever slide they are on.
    assert result.slides["highest_attention"].tolist() == pytest.approx([1, 1], 1e-3)
    assert result.slides["attended_regions"].tolist() == [0, 0]


def test_clinical_columns_come_from_the_slide_table(mil_study, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(mil_study / "run", run)
    card = json.loads((run / "card.json").read_text())
    (run / "card.json").write_text(json.dumps(card | {"clinical": ["age"]}))
    words = (run, mil_study / "features", MILPredictConfig(), tmp_path / "out")
    with pytest.raises(ConfigError, match="take age beside the features"):
        predict_mil(*words)
    table = pd.read_csv(mil_study / "slides.csv").iloc[[1]]
    table["path"] = str(mil_study / "M1.tif")
    keys = []
    for age in (61, 62):
        table.assign(age=age).to_csv(tmp_path / "slides.csv", index=False)
        result = predict_mil(*words, slides=tmp_path / "slides.csv")
        assert not result.failures
        part = tmp_path / "out" / "parts" / "M1.json"
        keys.append(json.loads(part.read_text())["key"])
    # Another age is another result.
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outline_from": 0}, "outline_from must be above 0"),
        ({"tile_objects": -1}, "tile_objects must be 0 or more"),
        ({"tile_px0": 0}, "tile_px0 must be 1 or more"),
        ({"instance_threshold": 2}, "instance_threshold must lie"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MILPredictConfig(**options)
