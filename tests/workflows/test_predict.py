"""One journey for every kind of model and of item, and what is true of some of them."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from shapely import box
from shapely.geometry import shape
from sklearn.metrics import roc_auc_score
from tests.workflows.patch_sets import make_kaggle, paint, save

from eosin.annotations import read_annotations
from eosin.bags import FeatureFile, FeatureInfo, read_bag_table, write_features
from eosin.core import (
    CohortError,
    ConfigError,
    ManifestError,
    ModelError,
    RunError,
    SlideError,
    read_json,
)
from eosin.evaluation import read_predictions
from eosin.inference import open_session
from eosin.prediction import outputs, patches
from eosin.prediction.tables import PredictResult
from eosin.runs.card import Card
from eosin.runs.run import read_run
from eosin.settings import (
    BagSettings,
    ImportSettings,
    PredictionSettings,
    TileTraining,
    TilingSettings,
)
from eosin.slides import Slide, open_slide, write_pyramid
from eosin.tiles import (
    open_tile_folder,
    pack_tiles,
    read_manifest,
    write_manifest,
)
from eosin.workflows import predict as module
from eosin.workflows.bags import make_bags
from eosin.workflows.import_patches import import_patches
from eosin.workflows.predict import predict
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import train

TILING = TilingSettings(mpp=1.0, tile_px=64)
WITNESS = 20
MAPS = (".geojson", ".heatmap.tif", ".heatmap-colour.tif", ".overlay.jpg")
KINDS = (
    "tiles",
    "three classes",
    "features",
    "patients",
    "slides",
    "pixels",
    "drawn",
    "drawn features",
)
N_TEST = 7


@dataclass(frozen=True)
class Journey:
    """One call: models, what is scored, the ids of all items, the maps of a slide."""

    run: Path
    what: tuple[Any, ...]
    items: tuple[str, ...]
    layers: tuple[str, ...] = ("",)
    options: dict[str, Any] = field(default_factory=dict)
    table: str = "slides.csv"

    def go(self, out: Path, **options: Any) -> PredictResult:
        return predict(self.run, self.what, out, **self.options, **options)


@pytest.fixture(scope="session")
def journeys(request, cohort, tile_folder, three_classes):
    names = ("tiles", "slides", "patients", "encoded", "pixels", "drawn")
    runs = {name: request.getfixturevalue(f"{name}_run") for name in names}
    paths = {name: run.path for name, run in runs.items()}
    slides, new = cohort.new_slides, ("new-1", "new-2")
    features, drawn_bags = (runs["slides"].data,), runs["pixels"].data
    slide_ids = tuple(sorted(f"M{i}" for i in range(14)))
    patient_ids = tuple(sorted(f"P{i}" for i in range(12)))
    table, _ = read_bag_table(drawn_bags / "bags.parquet")
    drawn = {"options": {"bags": drawn_bags}, "table": "bags.csv"}
    drawn |= {"what": (tile_folder,), "items": tuple(sorted(set(table["bag_id"])))}
    three = (three_classes / "new.tif", three_classes / "slide-0.tif")
    attention, by_table = ("", "instances"), {"cohort": runs["patients"].cohort}
    return {
        "tiles": Journey(paths["tiles"], slides, new),
        "three classes": Journey(
            three_classes / "run",
            three,
            ("new", "slide-0"),
            ("adenoma", "carcinoma"),
        ),
        "features": Journey(paths["slides"], features, slide_ids, attention),
        "patients": Journey(
            paths["patients"], features, patient_ids, attention, by_table
        ),
        "slides": Journey(paths["encoded"], slides, new, attention),
        "pixels": Journey(paths["pixels"], slides, new, attention),
        "drawn": Journey(paths["pixels"], **drawn),
        "drawn features": Journey(paths["drawn"], **drawn),
    }


@pytest.fixture(scope="session")
def predicted(journeys, tmp_path_factory):
    """Make each journey once, when a test asks for it."""
    folder, results = tmp_path_factory.mktemp("predicted"), {}

    def find(kind):
        if kind not in results:
            results[kind] = journeys[kind].go(folder / kind)
        return results[kind]

    return find


def read_all(folder):
    """Read every result but what tells of time."""
    files = {}
    for path in sorted(folder.glob("*.*")):
        if path.name in ("slides.csv", "bags.csv"):
            files[path.name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif path.name != "run.json":
            files[path.name] = path.read_bytes()
    return files


def read_features(path, kind="tile"):
    features = json.loads(path.read_text())["features"]
    return [f for f in features if f["properties"]["objectType"] == kind]


# What holds of every kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_item_has_its_row_and_every_slide_its_maps(kind, journeys, predicted):
    journey, result = journeys[kind], predicted(kind)
    out = result.folder
    table = pd.read_csv(out / journey.table)
    assert len(table) == len(result.table)
    assert (table["status"] == "done").all()
    parts = sorted(path.stem for path in (out / "parts").iterdir())
    assert parts == sorted(journey.items)
    columns = [name for name in table if name.startswith("probability_")]
    if columns:
        np.testing.assert_allclose(table[columns].sum(axis=1), 1)
    else:
        assert table["score"].between(0, 1).all()
    slides = table["slide_id"] if not kind.startswith("drawn") else ()
    for name in slides:
        for layer in journey.layers:
            stem = f"{name}.{layer}" if layer else name
            suffixes = MAPS if "classes" not in kind else MAPS[1:]
            assert all((out / f"{stem}{suffix}").exists() for suffix in suffixes)
    is_bag_model = kind not in ("tiles", "three classes")
    assert (out / "attention.html").exists() == is_bag_model
    shown = table.get("bag_id", slides)
    for name in shown if is_bag_model else ():
        assert (out / f"{name}.gallery.png").exists()
    assert pd.read_csv(out / "failures.csv").empty
    assert not (out / "state").exists()
    assert result.headline
    assert all(column in result.table for column in result.shown)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_call_does_only_what_is_missing(
    kind, journeys, predicted, monkeypatch
):
    out, journey = predicted(kind).folder, journeys[kind]
    before = read_all(out)
    parts = sorted((out / "parts").iterdir())
    times = {path: path.stat().st_mtime_ns for path in parts}
    parts[0].unlink()
    journey.go(out)
    assert [p for p in parts if p.stat().st_mtime_ns != times[p]] == parts[:1]
    assert read_all(out) == before
    # Nothing is opened where all is done.
    monkeypatch.setattr(module, "open_scorer", None)
    again = journey.go(out)
    assert again.cautions == predicted(kind).cautions
    assert read_all(out) == before
    with pytest.raises(RunError, match="batch was None, is 7"):
        journey.go(out, settings=PredictionSettings(batch=7))


@pytest.mark.parametrize("kind", ["tiles", "slides", "drawn"])
def test_an_interrupted_call_ends_like_an_unbroken_one(
    kind, journeys, predicted, tmp_path, monkeypatch
):
    real, journey = outputs.heatmaps.write_image, journeys[kind]
    last = journey.items[-1]

    def interrupt(path, image):
        if path.name.startswith(last):
            raise KeyboardInterrupt
        real(path, image)

    monkeypatch.setattr(outputs.heatmaps, "write_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        journey.go(tmp_path, workers=1)
    assert len(list((tmp_path / "parts").iterdir())) < len(journey.items)
    monkeypatch.setattr(outputs.heatmaps, "write_image", real)
    journey.go(tmp_path)
    assert read_all(tmp_path) == read_all(predicted(kind).folder)


@pytest.mark.parametrize("kind", ["tiles", "slides", "pixels"])
def test_a_failed_slide_stays_listed_until_it_is_asked_for_again(
    kind, journeys, cohort, tmp_path
):
    run, out = journeys[kind].run, tmp_path / "out"
    bad = tmp_path / "bröken slide.svs"
    bad.write_bytes(b"no slide at all")
    first, second = cohort.new_slides
    predict(run, [bad, first], out)
    for given in ([second], [first]):
        result = predict(run, given, out)
        assert [failure.slide_id for failure in result.failures] == ["bröken slide"]
        slides = pd.read_csv(out / "slides.csv").set_index("slide_id")
        assert slides["status"].to_dict() == {
            "new-1": "done",
            "new-2": "done",
            "bröken slide": "failed",
        }
        assert slides.loc["bröken slide", "path"] == str(bad)
        failures = pd.read_csv(out / "failures.csv")
        assert failures["slide_id"].tolist() == ["bröken slide"]
        assert "not a slide" in failures["message"][0]
        assert read_json(out / "run.json")["status"] == "incomplete"
    bad.unlink()
    whole = bad.with_suffix(second.suffix)
    shutil.copy(second, whole)
    (tmp_path / "slides.csv").write_text(f"path,mpp\n{whole},1.0\n")
    result = predict(run, [tmp_path / "slides.csv"], out)
    assert result.failures == ()
    assert set(pd.read_csv(out / "slides.csv")["status"]) == {"done"}
    assert read_json(out / "run.json")["status"] == "done"


@pytest.mark.parametrize("kind", ["tiles", "slides", "pixels"])
def test_where_nothing_was_scored_no_page_says_how(kind, journeys, tmp_path):
    (tmp_path / "bad.svs").write_bytes(b"no slide at all")
    out = tmp_path / "out"
    result = predict(journeys[kind].run, [tmp_path / "bad.svs"], out)
    assert result.headline == ("No slide was scored.",)
    assert result.ends == {"Failures": out / "failures.csv"}
    blank = np.full((512, 512, 3), 244, np.uint8)
    write_pyramid(tmp_path / "blank.tif", blank, mpp=0.5)
    result = predict(journeys[kind].run, [tmp_path / "blank.tif"], out)
    assert result.headline == ("No slide was scored.",)
    assert result.ends == {"Table": out / "slides.csv"}
    assert not list(out.glob("*.html"))


def test_outlines_have_the_names_of_the_annotations(predicted, cohort):
    # The cohort's annotations say Tumor; the class is called tumor.
    out = predicted("tiles").folder
    names = {
        feature["properties"].get("classification", {}).get("name")
        for slide in cohort.new_slides
        for feature in json.loads((out / f"{slide.stem}.geojson").read_text())[
            "features"
        ]
    }
    assert names == {"Tumor"}


def test_what_was_found_before_does_not_stay_beside_a_failure(
    run_folder, cohort, tmp_path
):
    slide, table = tmp_path / "a.png", tmp_path / "slides.csv"
    shutil.copy(cohort.new_slides[0], slide)
    table.write_text(f"path,mpp\n{slide},1.0\n")
    predict(run_folder, [table], tmp_path / "out")
    assert (tmp_path / "out" / "a.heatmap.tif").exists()
    slide.write_bytes(slide.read_bytes()[:2000])
    result = predict(run_folder, [table], tmp_path / "out")
    assert list(result.table["status"]) == ["failed"]
    assert not list((tmp_path / "out").glob("a.*"))


@pytest.mark.parametrize("kind", ["tiles", "slides", "pixels"])
def test_a_slide_without_tissue_is_done_and_says_so(kind, journeys, tmp_path):
    image = np.full((512, 512, 3), 244, np.uint8)
    write_pyramid(tmp_path / "blank.tif", image, mpp=0.5)
    result = predict(journeys[kind].run, [tmp_path / "blank.tif"], tmp_path / "out")
    assert list(result.table["status"]) == ["no tissue"]
    assert list(result.table["tiles"]) == [0]
    content = json.loads((tmp_path / "out" / "blank.geojson").read_text())
    assert content["features"] == []


@pytest.mark.parametrize("kind", ["tiles", "slides", "pixels"])
def test_tiles_that_cannot_be_read_are_left_out(
    kind, journeys, predicted, cohort, tmp_path, monkeypatch
):
    # What stands beside a call holds all tiles: two of them are damaged now.
    whole = predicted(kind).table.set_index("slide_id").loc["new-1", "tiles"]
    read, seen = Slide.read_tiles, []

    def read_damaged(self, boxes, out, **options):
        if out.shape[1] == 64:
            seen.extend(map(tuple, boxes[:, :2].tolist()))
            bad = list(dict.fromkeys(seen))[3:5]
            if any(tuple(own) in bad for own in boxes[:, :2].tolist()):
                raise SlideError("a part is cut short")
        read(self, boxes, out, **options)

    monkeypatch.setattr(Slide, "read_tiles", read_damaged)
    settings = PredictionSettings(**{} if kind == "tiles" else {"gallery_tiles": 0})
    result = predict(journeys[kind].run, cohort.new_slides[:1], tmp_path, settings)
    (row,) = result.table.to_dict("records")
    n_tiles = row["tiles"] if kind == "tiles" else row["tiles"] + row["damaged_tiles"]
    assert (n_tiles, row["damaged_tiles"]) == (whole, 2)


def test_slides_that_the_model_learnt_from_are_told_of(run_folder, cohort, tmp_path):
    splits = pd.read_csv(run_folder / "splits.csv").drop_duplicates("slide_id")
    splits = splits.set_index("slide_id")["split"]
    learnt, held = (splits.index[splits == name][0] for name in ("train", "test"))
    rows = pd.read_csv(cohort.table).set_index("slide_id").loc[[learnt, held]]
    rows["path"] = [str(cohort.table.parent / path) for path in rows["path"]]
    # Another slide of a patient is no more new than the patient is.
    rows.loc["again"] = rows.loc[learnt]
    rows.loc["again", "path"] = str(cohort.new_slides[0])
    table, out = tmp_path / "slides.csv", tmp_path / "out"
    rows[["path", "patient_id"]].to_csv(table, index_label="slide_id")
    result = predict(run_folder, [table], out)
    found = pd.read_csv(out / "slides.csv").set_index("slide_id")["seen_in_training"]
    assert found.to_dict() == {learnt: True, held: False, "again": True}
    made, caution = result.cautions
    assert "from slides that were made by a computer" in made
    assert caution.startswith(f"2 of 3 slides ({learnt}, again) are of patients that")
    notes = read_json(out / "run.json")["notes"]
    assert notes["cautions"] == [made, caution]
    assert {"callers", "threads", "batch"} < notes["model_calls"].keys()
    _, caution = predict(run_folder, cohort.new_slides[1:], out).cautions
    assert caution.startswith(f"2 of 4 slides (again, {learnt}) are of patients that")
    assert predict(run_folder, cohort.new_slides, tmp_path / "new").cautions == (made,)


@pytest.mark.parametrize("kind", ["tiles", "slides", "pixels", "patches"])
def test_prediction_imports_neither_keras_nor_metrics(kind, journeys, study, tmp_path):
    heavy = {"keras", "torch", "onnx", "matplotlib", "pydicom", "sklearn"}
    if kind in ("tiles", "patches"):
        # Bags have a page and ranks.
        heavy |= {"jinja2", "scipy.optimize", "scipy.stats"}
    code = (
        "import sys; from pathlib import Path;"
        "from eosin.workflows.predict import predict;"
        "run, what, out = map(Path, sys.argv[1:]);"
        "predict(run, [what], out);"
        f"bad = {heavy} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    if kind == "patches":
        run, what = journeys["tiles"].run, tmp_path / "patches"
        write_pyramid(what / "a.tif", np.full((64, 64, 3), 90, np.uint8), mpp=1.0)
    else:
        run, what = journeys[kind].run, journeys[kind].what[0]
    places = [str(place) for place in (run, what, tmp_path / "out")]
    words = [sys.executable, "-c", code, *places]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("tiles", {"outline_from": 3}, "outline_from is for"),
        ("slides", {"tile_px0": 9}, "tile_px0 is for feature files"),
        ("drawn", {"views": 2}, "views is for"),
    ],
)
def test_a_setting_of_another_kind_is_refused(
    kind, changed, message, journeys, tmp_path
):
    with pytest.raises(ConfigError, match=message):
        journeys[kind].go(tmp_path / "out", settings=PredictionSettings(**changed))
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_or_takes_no_bags_is_said(
    slides_run, tiles_run, cohort, tile_folder, drawn_bags, tmp_path
):
    with pytest.raises(ModelError, match="name the run folder first"):
        predict(cohort.new_slides[0], [tmp_path], tmp_path / "out")
    (tmp_path / "damaged.tif").write_bytes(b"no slide")
    result = predict(tiles_run.path, [tmp_path / "damaged.tif"], tmp_path / "failed")
    assert result.ends == {"Failures": result.folder / "failures.csv"}
    for run in (slides_run.path, tiles_run.path):
        options = {"bags": drawn_bags, "are_patches": False}
        with pytest.raises(ModelError, match="drawn bags go with a bag model"):
            predict(run, [tile_folder], tmp_path / "out", **options)


# Tile classifiers on slides


def test_outlined_areas_add_up_to_the_table(predicted, cohort):
    out = predicted("tiles").folder
    slides = predicted("tiles").table.set_index("slide_id")
    for path in cohort.new_slides:
        with open_slide(path) as slide:
            outlines = read_annotations(out / f"{path.stem}.geojson", slide=slide)
            area_px = sum(region.geometry.area for region in outlines.regions)
            area_mm2 = area_px * (slide.require_mpp() / 1000) ** 2
        assert slides.loc[path.stem, "tumour_mm2"] == pytest.approx(area_mm2, abs=1e-3)


@pytest.mark.parametrize("kind", ["tiles", "slides"])
def test_the_heatmap_lies_on_the_slide(kind, predicted, cohort):
    with (
        tifffile.TiffFile(predicted(kind).folder / "new-1.heatmap.tif") as file,
        open_slide(cohort.new_slides[0]) as slide,
    ):
        page = file.pages[0]
        values = page.asarray()
        resolution = page.tags["XResolution"].value
        cell_um = 10_000 / (resolution[0] / resolution[1])
        size_um = [side * slide.require_mpp() for side in slide.dimensions]
    assert values.shape[1] * cell_um == pytest.approx(size_um[0], abs=cell_um)
    assert values.shape[0] * cell_um == pytest.approx(size_um[1], abs=cell_um)
    assert 0 <= values.min() <= values.max() <= 1


def test_three_planted_classes_are_outlined_where_they_are(predicted, three_classes):
    result = predicted("three classes")
    with open_slide(three_classes / "new.tif") as slide:
        found = read_annotations(result.folder / "new.geojson", slide=slide)
    # Called as the annotations that it learnt from spell them.
    truth = {"Adenoma": (64, 320), "Carcinoma": (320, 576)}
    areas = dict.fromkeys(truth, 0.0)
    for region in found.regions:
        left, top, right, bottom = region.geometry.bounds
        start, end = truth[region.class_name]
        assert start - 32 <= left < right <= end + 32
        assert 32 <= top < bottom <= 352
        areas[region.class_name] += region.geometry.area
    table = result.table.set_index("slide_id")
    for place, (name, area) in enumerate(
        (name.lower(), area) for name, area in areas.items()
    ):
        assert area == pytest.approx(256**2, rel=0.15)
        assert table.loc["new", f"area_{name}_mm2"] == pytest.approx(0.0655, rel=0.15)
        with tifffile.TiffFile(result.folder / f"new.{name}.heatmap.tif") as file:
            values = file.pages[0].asarray()
        means = [values[2:10, 2:10].mean(), values[2:10, 10:18].mean()]
        np.testing.assert_allclose(means, [place == 0, place == 1], atol=0.2)
    assert table.loc["slide-0", "label"] == "normal"
    assert table.loc["slide-0", "tumour_mm2"] == pytest.approx(0, abs=0.005)
    total = table[["area_adenoma_mm2", "area_carcinoma_mm2"]].sum(axis=1)
    np.testing.assert_allclose(table["tumour_mm2"], total, atol=2e-4)
    assert not list(result.folder.glob("*normal*"))


def test_overlap_views_threshold_and_tile_objects(run_folder, cohort, tmp_path):
    changed = {"overlap_px": 32, "views": 2, "threshold": 0.0, "tile_objects": True}
    settings = PredictionSettings(**changed)
    result = predict(run_folder, cohort.new_slides[:1], tmp_path, settings)
    path = tmp_path / "new-1.geojson"
    # At a threshold of 0 every tile is an object.
    assert len(read_features(path)) == result.table["tiles"][0]
    assert read_features(path, "annotation")


@pytest.mark.parametrize("kind", ["tiles", "slides"])
def test_slides_say_their_resolution_or_are_given_one(kind, journeys, cohort, tmp_path):
    run = journeys[kind].run
    with open_slide(cohort.new_slides[0]) as slide:
        image = slide.read(0, 0, 512, 512)
    bare, coarse = tmp_path / "bare.tif", tmp_path / "coarse.tif"
    tifffile.imwrite(bare, image, tile=(256, 256), photometric="rgb")
    write_pyramid(coarse, np.full((256, 256, 3), 200, np.uint8), mpp=2.0)
    found = predict(run, [bare, coarse], tmp_path / "out")
    messages = {failure.slide_id: failure.message for failure in found.failures}
    assert "--slide-mpp" in messages["bare"]
    assert "needs a finer slide" in messages["coarse"]
    given = PredictionSettings(slide_mpp=0.25)
    slides = [bare, cohort.new_slides[0]]
    table = predict(run, slides, tmp_path / "given", given).table
    assert (table["status"] == "done").all()
    if kind == "tiles":
        # It gives way to what a slide says.
        assert list(table["mpp_source"]) == ["given", "tiff resolution"]


def test_a_model_with_context_is_shown_it(cohort, tmp_path, monkeypatch):
    tiling = TilingSettings(mpp=1.0, tile_px=64, context=2)
    tile_cohort(cohort.table, tmp_path / "tiles", tiling)
    config = TileTraining(encoder="smallcnn", weights="none", tune_epochs=1)
    train(tmp_path / "tiles", tmp_path / "run", config)
    read, sides = Slide.read_tiles, set()

    def spy(self, boxes, out, **options):
        if out.shape[1] == 64:
            sides.update(boxes[:, 2].tolist())
        read(self, boxes, out, **options)

    monkeypatch.setattr(Slide, "read_tiles", spy)
    result = predict(tmp_path / "run", cohort.new_slides[:1], tmp_path / "out")
    assert not result.failures
    # Tiles of 64 px at 1.0 mpp are 128 px at 0.5, and twice that with context.
    assert sides == {256}


def test_packs_and_tile_folders_stand_for_their_slides(
    run_folder, tile_folder, cohort, tmp_path
):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    pack = pack_tiles(tmp_path / "tiles").path
    names = ["slide_id", "score", "label", "tumour_mm2", "tiles"]
    plain = predict(run_folder, [cohort.table], tmp_path / "plain").table[names]
    for given in (pack, tile_folder):
        found = predict(run_folder, [given], tmp_path / f"of {given.name}")
        assert not found.failures
        pd.testing.assert_frame_equal(found.table[names], plain)


# Bag models: attention


def find_witness_box(features, slide_id):
    coords = FeatureFile(features / f"{slide_id}.h5").read_dataset("coords")
    x, y = (int(v) for v in coords[WITNESS])
    return box(x, y, x + 64, y + 64)


@pytest.fixture
def others(plant_witnesses, tmp_path):
    """Features without slides: one with witnesses, one without."""
    return plant_witnesses(tmp_path / "others", {"E0": 0, "E1": 1})


def test_slides_are_called_as_their_witnesses_say(mil_study, predicted):
    slides = predicted("features").table.set_index("slide_id")
    truth = pd.read_csv(mil_study / "slides.csv").set_index("slide_id")["label"]
    assert (slides["label"] == truth.loc[slides.index]).mean() > 0.9
    assert slides["seen_in_training"].all()
    text = (predicted("features").folder / "attention.html").read_text()
    assert "times 1/n" in text
    assert "the mean over all models of all folds" in text
    # The most suspicious slide stands first.
    names = slides["probability_tumor"].sort_values().index
    assert text.index(f">{names[-1]}</h2>") < text.index(f">{names[0]}</h2>")
    patients = pd.read_csv(predicted("features").folder / "patients.csv")
    # Without a slide table, each slide is its own patient.
    assert patients["slides"].tolist() == [1] * 14


def test_the_witness_has_most_attention_on_its_very_place(mil_study, predicted):
    out = predicted("features").folder
    best = find_witness_box(mil_study / "features", "M1")
    tiles = read_features(out / "M1.geojson")
    measured = [tile["properties"]["measurements"] for tile in tiles]
    times = [m["Attention over 1/n"] for m in measured]
    assert times == sorted(times, reverse=True)
    assert shape(tiles[0]["geometry"]).equals(best)
    assert measured[0]["Attention rank"] == 1
    assert "Tile probability of tumor" in measured[0]
    regions = read_features(out / "M1.geojson", "annotation")
    assert any(shape(region["geometry"]).covers(best) for region in regions)
    raster = tifffile.imread(out / "M1.heatmap.tif", level=0)
    with open_slide(mil_study / "M1.tif") as slide:
        scale = slide.dimensions[0] / raster.shape[1]
    x, y = (int((v + 32) / scale) for v in best.bounds[:2])
    assert raster[y, x] == raster.max() == pytest.approx(1)


@pytest.mark.parametrize("n_views", [1, 2])
def test_slides_in_one_command_are_as_tiled_embedded_and_predicted(
    n_views, journeys, predicted, cohort, tmp_path
):
    shutil.copytree(journeys["slides"].run, tmp_path / "run")
    card = Card.read(tmp_path / "run")
    sees = replace(card.sees, views=n_views)
    replace(card, sees=sees).write(tmp_path / "run")
    run = read_run(tmp_path / "run")
    rows = [f"{path.stem},{path}" for path in cohort.new_slides]
    (tmp_path / "new.csv").write_text("\n".join(["slide_id,path", *rows]))
    tile_cohort(tmp_path / "new.csv", tmp_path / "tiles", TILING)
    folder = open_tile_folder(tmp_path / "tiles")
    session = open_session(run.encoder)
    for slide_id, tiles in folder.tiles.groupby("slide_id"):
        with folder.open_reader(tiles) as reader:
            pixels = reader.read(np.arange(len(tiles)))
        # The second view is the first one turned over.
        views = [session.run(pixels), session.run(pixels[:, :, ::-1].copy())][:n_views]
        found = np.mean([view["features"] for view in views], axis=0)
        info = FeatureInfo(
            slide_id=slide_id, encoder="smallcnn", tile_px=64, mpp=1.0, size_px0=128
        )
        coords = tiles[["x_px0", "y_px0"]].to_numpy()
        write_features(tmp_path / "features" / f"{slide_id}.h5", found, coords, info)
    cut = {"cohort": tmp_path / "new.csv"}
    other = predict(run.path, [tmp_path / "features"], tmp_path / "out", **cut)
    one = predict(run.path, cohort.new_slides, tmp_path / "one command")
    assert one.table["tiles"].tolist() == other.table["tiles"].tolist()
    for name in ("probability_tumor", "highest_attention", "attended_mm2"):
        values = (result.table[name].astype(float) for result in (one, other))
        np.testing.assert_allclose(*values, atol=1e-6)
    for name in ("new-1.geojson", "new-1.heatmap.tif", "new-2.overlay.jpg"):
        found, expected = (result.folder / name for result in (one, other))
        assert found.read_bytes() == expected.read_bytes()


def test_bags_of_patients_share_their_attention_among_slides(predicted):
    table = predicted("patients").table
    for _, own in table.groupby("patient_id"):
        assert len(set(own["probability_tumor"])) == 1
    out = predicted("patients").folder
    patients = pd.read_csv(out / "patients.csv").set_index("patient_id")
    assert patients.loc["P0", "slides"] == 2
    # Ranks are among the tiles of both slides: one of them has the highest.
    ranks = [
        tifffile.imread(out / f"{name}.heatmap.tif", level=0).max()
        for name in ("M0", "M12")
    ]
    assert max(ranks) == pytest.approx(1)
    assert min(ranks) < 1


def test_slides_that_are_not_at_hand_are_mapped_without_pictures(
    mil_study, others, tmp_path
):
    result = predict(mil_study / "run", [others], tmp_path / "o")
    row = result.table.set_index("slide_id").loc["E1"]
    assert row["label"] == "tumor"
    assert not row["seen_in_training"]
    assert row["note"].startswith("no pictures: the slide is not at hand")
    assert not (tmp_path / "o" / "E1.overlay.jpg").exists()
    raster = tifffile.imread(tmp_path / "o" / "E1.heatmap.tif", level=0)
    # 640 x 384 px of level 0, cells of 64.
    assert raster.shape == (6, 10)
    assert raster[WITNESS // 8, WITNESS % 8] == pytest.approx(1)
    best, *_ = read_features(tmp_path / "o" / "E1.geojson")
    assert shape(best["geometry"]).bounds == (256, 128, 320, 192)


def test_a_bad_feature_file_is_listed_and_the_rest_goes_on(mil_study, others, tmp_path):
    (others / "E2.h5").write_bytes(b"no features")
    with h5py.File(others / "E3.h5", "w") as file:
        file["features"] = np.full((4, 6), np.nan, np.float32)
        file["coords"] = np.arange(8, dtype=np.int64).reshape(4, 2) * 64
    shutil.copy(others / "E0.h5", others / "E4.h5")
    with h5py.File(others / "E4.h5", "a") as file:
        file["features"].attrs["encoder"] = file.attrs["encoder"] = "another"
    out = tmp_path / "out"
    predict(mil_study / "run", [others], out)
    failures = pd.read_csv(out / "failures.csv").set_index("slide_id")["message"]
    assert sorted(failures.index) == ["E2", "E3", "E4"]
    assert "not an HDF5 file" in failures["E2"]
    assert "must be finite" in failures["E3"]
    assert "features of made, these are of another" in failures["E4"]
    slides = pd.read_csv(out / "slides.csv").set_index("slide_id")
    assert slides["status"].tolist() == ["done"] * 2 + ["failed"] * 3


def test_a_slide_table_says_which_and_of_whom(mil_study, tmp_path):
    table = pd.read_csv(mil_study / "slides.csv").iloc[[1, 13]]
    table["path"] = [str(mil_study / path) for path in table["path"]]
    table.loc[99] = {"slide_id": "gone", "path": "gone.tif", "patient_id": "P1"}
    table.to_csv(tmp_path / "slides.csv", index=False)
    settings = PredictionSettings(gallery_tiles=0, attended_tiles=0)
    words = (mil_study / "run", [mil_study / "features"], tmp_path / "out", settings)
    result = predict(*words, cohort=tmp_path / "slides.csv")
    assert result.table["slide_id"].tolist() == ["M1", "M13", "gone"]
    assert result.table["status"].tolist() == ["done", "done", "failed"]
    (failure,) = result.failures
    assert "gone: has no feature file" in failure.message
    # A patient is scored by the slide in which most was found.
    patients = pd.read_csv(tmp_path / "out" / "patients.csv")
    assert patients["slides"].tolist() == [2]
    highest = result.table["probability_tumor"].max()
    assert patients["probability_tumor"][0] == pytest.approx(highest)
    assert not (tmp_path / "out" / "M1.gallery.png").exists()
    assert (tmp_path / "out" / "M1.overlay.jpg").exists()


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
    result = predict(mil_study / "run", [folder], tmp_path / "o")
    slides = result.table.set_index("slide_id")
    assert (slides["label"] == "tumor").all()
    assert "do not say where tiles lie" in slides.loc["B1", "note"]
    assert "no TIFF and no areas" in slides.loc["B2", "note"]
    best, *_ = read_features(tmp_path / "o" / "B2.geojson")
    x0, y0, x1, y1 = shape(best["geometry"]).bounds
    assert (x1 - x0, y1 - y0) == (50, 50)
    assert not (tmp_path / "o" / "B1.geojson").exists()


# Models from pixels: drawn bags


def test_the_page_says_what_calls_of_slides_do_not_hold_for(predicted):
    made, caution = predicted("pixels").cautions
    assert caution.startswith("The models learnt from drawn bags of 6 tiles")
    text = (predicted("pixels").folder / "attention.html").read_text()
    assert "positive ones with 3 witnesses" in text
    assert made in text
    assert "1 fold, 2 models" in text
    assert "No outline by hand" not in text


def test_held_out_bags_are_scored_as_in_training(predicted, pixels_run):
    run = read_run(pixels_run.path)
    bags = predicted("drawn").table.set_index("bag_id")
    assert len(bags) == 60
    held = run.held_out[run.held_out["split"] == "test"]
    logits = held.groupby("id", sort=False)[["logit_0"]].mean()
    expected = run.card.target.activate(
        logits.to_numpy(), run.card.together.temperature
    )[:, 1]
    found = bags.loc[logits.index, "probability_tumor"]
    assert found.to_numpy() == pytest.approx(expected, abs=1e-4)
    is_positive = (bags["true_label"] == "tumor").tolist()
    assert is_positive == (bags["witnesses"] == 3).tolist()
    # The side `test` holds patients that no model has seen.
    assert bags["seen_in_training"].tolist() == (bags["split"] != "test").tolist()


def test_each_tile_has_its_attention_and_witnesses_are_told(predicted, pixels_run):
    tiles = pd.read_csv(predicted("drawn").folder / "tiles.csv")
    table, _ = read_bag_table(pixels_run.data / "bags.parquet")
    assert tiles["tile_id"].tolist() == table["tile_id"].tolist()
    sums = tiles.groupby("bag_id")["attention"].sum()
    assert sums.to_numpy() == pytest.approx(np.full(60, 6), abs=1e-4)
    bags = predicted("drawn").table.set_index("bag_id")
    own = tiles[tiles["bag_id"] == "test-00001"]
    auc = roc_auc_score(own["is_witness"], own["attention"])
    assert bags.loc["test-00001", "witness_auc"] == pytest.approx(auc)
    # A negative bag has none.
    assert np.isnan(bags.loc["test-00000", "witness_auc"])
    for name in tiles["slide_id"].unique():
        assert all((predicted("drawn").folder / f"{name}{s}").exists() for s in MAPS)
    text = (predicted("drawn").folder / "attention.html").read_text()
    assert "rests on neither" in text
    assert "(witness)" in text
    assert "The models learnt from drawn bags" not in text


def test_bags_of_another_size_are_told(pixels_run, tile_folder, tmp_path):
    config = BagSettings(n_bags=10, size=4, witnesses=(4,), seed=3)
    make_bags(tile_folder, tmp_path / "bags", config)
    words = (pixels_run.path, [tile_folder], tmp_path / "out")
    settings = PredictionSettings(gallery_tiles=0)
    result = predict(*words, settings, bags=tmp_path / "bags" / "bags.parquet")
    assert "learnt from drawn bags of 6 tiles" in result.cautions[1]
    assert "bags hold tiles of patients that training has seen" in result.cautions[2]
    # All of a positive bag's tiles are witnesses: there is nothing to be told apart.
    assert result.table["witness_auc"].isna().all()
    assert not list((tmp_path / "out").glob("*.gallery.png"))


def test_other_tiles_and_classes_are_refused(pixels_run, tile_folder, tmp_path):
    run, other = tmp_path / "run", tmp_path / "tiles"
    words = {"bags": pixels_run.data}
    table, info = read_manifest(tile_folder / "tiles.parquet")
    shutil.copytree(tile_folder, other)
    write_manifest(other / "tiles.parquet", table.iloc[:-1], info)
    with pytest.raises(ManifestError, match="drawn from other tiles than those in"):
        predict(pixels_run.path, [other], tmp_path / "out", **words)
    shutil.copytree(pixels_run.path, run)
    card = Card.read(run)
    for changed, message in (
        ({"sees": replace(card.sees, tile_px=32)}, "tile_px 32, these have 64"),
        ({"sees": replace(card.sees, context=2.0)}, "context 2, these have 1"),
        ({"class_names": ("a", "b")}, "a, b apart, these have normal, tumor"),
    ):
        replace(card, **changed).write(run)
        with pytest.raises(ModelError, match=message):
            predict(run, [tile_folder], tmp_path / "out", **words)


# Patches


@pytest.fixture(scope="module")
def patch_study(tmp_path_factory):
    """Kaggle's layout in `set`, its `tiles`, and a `run` of two folds."""
    folder = tmp_path_factory.mktemp("patches")
    test = [paint(1000 + i, i % 2) for i in range(N_TEST)]
    make_kaggle(folder / "set", [paint(i, i % 2) for i in range(40)], test)
    import_patches(folder / "set", folder / "tiles", ImportSettings(layout="kaggle"))
    tune = {"tune_epochs": 2, "tune_learning_rate": 3e-3}
    config = TileTraining(encoder="smallcnn", weights="none", folds=2, **tune)
    train(folder / "tiles", folder / "run", config)
    return folder


@pytest.fixture
def score(patch_study, tmp_path):
    """Score patches of the study into a folder."""

    def go(name="out", given="tiles", **options):
        settings = PredictionSettings(**options.pop("settings", {}))
        what = [patch_study / given]
        return predict(patch_study / "run", what, tmp_path / name, settings, **options)

    return go


def test_patches_get_the_mean_of_folds_and_views(score, patch_study):
    result = score(settings={"views": 8})
    card = Card.read(patch_study / "run")
    paths = sorted((patch_study / "set" / "test").iterdir())
    tiles = np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])
    expected = []
    for name in card.models:
        session = open_session(patch_study / "run" / name)
        logits = []
        for flipped in (tiles, tiles[:, :, ::-1]):
            for turns in range(4):
                turned = np.ascontiguousarray(np.rot90(flipped, turns, axes=(1, 2)))
                logits.append(session.run(turned)["logits"][:, 0])
        mean = np.mean(logits, axis=0) / card.together.temperature
        expected.append(1 / (1 + np.exp(-mean)))
    assert len(expected) == 2
    table = pd.read_csv(result.folder / "predictions.csv")
    assert table["id"].tolist() == [f"q{i}" for i in range(N_TEST)]
    assert table["file"].tolist()[0] == "test/q0.tif"
    positive = table["probability_tumor"]
    np.testing.assert_allclose(positive, np.mean(expected, axis=0), rtol=1e-5)
    is_called = positive >= card.together.tile_threshold
    assert (table["called"] == np.where(is_called, "tumor", "normal")).all()
    kept, target = read_predictions(result.folder / "predictions.parquet")
    assert target.class_names == ("normal", "tumor")
    assert set(kept["split"]) == {"external"}
    assert kept["probability_tumor"].tolist() == positive.tolist()


def test_a_folder_of_images_gives_what_its_import_gives(score):
    columns = ["id", "called", "probability_tumor"]
    imported, plain = score("a").table, score("b", given="set/test").table
    pd.testing.assert_frame_equal(imported[columns], plain[columns])


@pytest.mark.parametrize("name", ["bags", "cohort"])
def test_a_file_that_means_nothing_for_patches_is_refused(score, tmp_path, name):
    with pytest.raises(ConfigError, match=f"--{name} .*has no meaning"):
        score(**{name: tmp_path})


def test_a_submission_holds_the_sample_ids_in_their_order(score, tmp_path, monkeypatch):
    ids = [f"q{i}" for i in range(N_TEST)][::-1]
    sample, asked = tmp_path / "sample.csv", tmp_path / "submission.csv"
    sample.write_text("id,label\n" + "".join(f"{name},0\n" for name in ids))
    result = score(submission=asked, sample=sample)
    assert str(sample) in str(result.ends["Submission"])
    written = pd.read_csv(asked)
    assert list(written.columns) == ["id", "label"]
    assert written["id"].tolist() == ids
    table = result.table.set_index("id")
    assert written["label"].tolist() == table.loc[ids, "probability_tumor"].tolist()
    # Finished work gives another one without a model.
    monkeypatch.setattr(module, "TileScorer", None)
    again = score(submission=tmp_path / "other.csv")
    assert str(Path("set") / "test") in str(again.ends["Submission"])
    assert len(pd.read_csv(tmp_path / "other.csv")) == N_TEST


def test_ids_are_checked_before_anything_is_scored(score, tmp_path, patch_study):
    sample, asked = tmp_path / "sample.csv", tmp_path / "submission.csv"
    sample.write_text("id,label\nq0,0\nzz,0\n")
    with pytest.raises(CohortError, match=r"1 of 2 ids .*\(zz\)") as caught:
        score(submission=asked, sample=sample)
    assert "6 patches are not in" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not asked.exists()
    run, tiles = tmp_path / "run", [patch_study / "tiles"]
    shutil.copytree(patch_study / "run", run)
    replace(Card.read(run), class_names=("a", "b", "c")).write(run)
    with pytest.raises(ModelError, match="this model has 3: a, b, c"):
        predict(run, tiles, tmp_path / "out", submission=asked)


def test_a_patch_that_cannot_be_read_costs_itself(patch_study, tmp_path):
    shutil.copytree(patch_study / "set" / "test", tmp_path / "test")
    (tmp_path / "test" / "q3.tif").write_bytes(b"no image")
    asked, words = tmp_path / "s.csv", (patch_study / "run", [tmp_path / "test"])
    with pytest.raises(CohortError, match=r"1 of 7 ids .*no prediction \(q3\)"):
        predict(*words, tmp_path / "out", submission=asked)
    assert not asked.exists()
    failures = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert failures["id"].tolist() == ["q3"]
    assert "no image that can be read" in failures["message"][0]
    result = predict(*words, tmp_path / "out")
    assert [failure.slide_id for failure in result.failures] == ["q3"]
    assert len(result.table) == N_TEST - 1
    assert read_json(tmp_path / "out" / "run.json")["status"] == "incomplete"
    # Mended, it is scored with its block.
    save(tmp_path / "test" / "q3.tif", paint(1))
    with pytest.raises(RunError, match="input patches changed"):
        predict(*words, tmp_path / "out")


def test_interrupted_patches_go_on_at_the_next_block(score, tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "_BLOCK", 2)
    real, calls = module.score_block, []

    def stop(*words):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(module, "score_block", stop)
    with pytest.raises(KeyboardInterrupt):
        score(workers=1)
    assert not (tmp_path / "out" / "predictions.csv").exists()
    score(workers=1)
    assert len(calls) == 5
    score("whole")
    for name in ("predictions.csv", "predictions.parquet", "failures.csv"):
        broken, whole = (tmp_path / place / name for place in ("out", "whole"))
        assert broken.read_bytes() == whole.read_bytes()
    with pytest.raises(RunError, match="views was None, is 2"):
        score(settings={"views": 2})
    assert len(score(settings={"views": 2}, overwrite=True).table) == N_TEST
