import shutil
import subprocess
import sys

import openslide
import pandas as pd
import pytest
import tifffile

from eosin.annotations import read_annotations
from eosin.core import ConfigError, ModelError, read_json
from eosin.slides import open_slide
from eosin.workflows import prediction_writing, slide_prediction
from eosin.workflows.pack_tiles import pack_tiles
from eosin.workflows.predict import PredictConfig, predict_slides


def read_all(folder):
    """Read every result but what tells of time."""
    files = {}
    for path in sorted(folder.glob("*.*")):
        if path.name == "run.json":
            continue
        if path.name == "slides.csv":
            files[path.name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        else:
            files[path.name] = path.read_bytes()
    return files


def test_each_slide_has_its_files_and_its_row(prediction_folder):
    slides = pd.read_csv(prediction_folder / "slides.csv")
    assert list(slides["slide_id"]) == ["new-1", "new-2"]
    assert set(slides["label"]) <= {"tumor", "normal"}
    assert slides["score"].between(0, 1).all()
    for slide_id in slides["slide_id"]:
        for suffix in (
            ".geojson",
            ".heatmap.tif",
            ".heatmap-colour.tif",
            ".overlay.jpg",
        ):
            assert (prediction_folder / (slide_id + suffix)).exists()
    assert len(pd.read_csv(prediction_folder / "failures.csv")) == 0


def test_outlined_areas_add_up_to_the_table(prediction_folder, cohort):
    slides = pd.read_csv(prediction_folder / "slides.csv").set_index("slide_id")
    for path in cohort.new_slides:
        with open_slide(path) as slide:
            outlines = read_annotations(
                prediction_folder / f"{path.stem}.geojson", slide=slide
            )
            area_px = sum(region.geometry.area for region in outlines.regions)
            area_mm2 = area_px * (slide.require_mpp() / 1000) ** 2
        assert slides.loc[path.stem, "tumour_mm2"] == pytest.approx(area_mm2, abs=1e-3)


def test_the_heatmap_lies_on_the_slide(prediction_folder, cohort):
    with (
        tifffile.TiffFile(prediction_folder / "new-1.heatmap.tif") as file,
        open_slide(cohort.new_slides[0]) as slide,
    ):
        page = file.pages[0]
        values = page.asarray()
        cell_um = 10_000 / (
            page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1]
        )
        width, height = slide.dimensions
        mpp = slide.require_mpp()
    assert values.shape[1] * cell_um == pytest.approx(width * mpp, abs=cell_um)
    assert values.shape[0] * cell_um == pytest.approx(height * mpp, abs=cell_um)
    assert values.min() >= 0
    assert values.max() <= 1


def test_the_colour_heatmap_opens_in_openslide(prediction_folder, cohort):
    with (
        openslide.OpenSlide(prediction_folder / "new-1.heatmap-colour.tif") as picture,
        open_slide(cohort.new_slides[0]) as slide,
    ):
        assert picture.read_region((0, 0), 0, picture.dimensions).size
        mpp = 1e4 / float(picture.properties["tiff.XResolution"])
        width_um = picture.dimensions[0] * mpp
        assert width_um >= slide.dimensions[0] * slide.require_mpp() * 0.99


def test_a_bad_slide_is_recorded_and_the_rest_goes_on(
    run_folder, cohort, prediction_folder, tmp_path
):
    bad = tmp_path / "bröken slide.svs"
    bad.write_bytes(b"no slide at all")
    result = predict_slides(
        run_folder, [bad, *cohort.new_slides], PredictConfig(), tmp_path / "out"
    )
    assert [failure.slide_id for failure in result.failures] == ["bröken slide"]
    failures = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert "not a slide" in failures["message"][0]
    assert list(result.slides["status"]) == ["failed", "done", "done"]
    assert (tmp_path / "out" / "new-1.geojson").read_bytes() == (
        prediction_folder / "new-1.geojson"
    ).read_bytes()


def test_a_second_call_scores_only_what_is_missing(
    run_folder, cohort, prediction_folder, monkeypatch
):
    calls = []
    real = slide_prediction.score_tiles

    def count(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(slide_prediction, "score_tiles", count)
    before = read_all(prediction_folder)
    predict_slides(run_folder, cohort.new_slides, PredictConfig(), prediction_folder)
    assert not calls
    assert read_all(prediction_folder) == before


def test_slides_of_earlier_calls_stay_in_the_table(run_folder, cohort, tmp_path):
    first, second = cohort.new_slides
    predict_slides(run_folder, [second], PredictConfig(), tmp_path)
    predict_slides(run_folder, [first], PredictConfig(), tmp_path)
    slides = pd.read_csv(tmp_path / "slides.csv")
    assert list(slides["slide_id"]) == ["new-1", "new-2"]
    assert set(slides["status"]) == {"done"}


def test_what_was_found_before_does_not_stay_beside_a_failure(
    run_folder, cohort, tmp_path
):
    slide = tmp_path / "a.png"
    shutil.copy(cohort.new_slides[0], slide)
    table = tmp_path / "slides.csv"
    table.write_text(f"path,mpp\n{slide},1.0\n")
    out = tmp_path / "out"
    predict_slides(run_folder, [table], PredictConfig(), out)
    assert (out / "a.heatmap.tif").exists()
    slide.write_bytes(slide.read_bytes()[:2000])
    result = predict_slides(run_folder, [table], PredictConfig(), out)
    assert list(result.slides["status"]) == ["failed"]
    assert not list(out.glob("a.*"))


def test_a_failed_slide_stays_listed_until_it_is_asked_for_again(
    run_folder, cohort, tmp_path
):
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"no slide at all")
    out = tmp_path / "out"
    first, second = cohort.new_slides
    predict_slides(run_folder, [bad, first], PredictConfig(), out)
    for given in ([second], [first]):
        result = predict_slides(run_folder, given, PredictConfig(), out)
        assert [failure.slide_id for failure in result.failures] == ["bad"]
        slides = pd.read_csv(out / "slides.csv").set_index("slide_id")
        assert slides["status"].to_dict() == {
            "new-1": "done",
            "new-2": "done",
            "bad": "failed",
        }
        assert slides.loc["bad", "path"] == str(bad)
        assert pd.read_csv(out / "failures.csv")["slide_id"].tolist() == ["bad"]
        assert read_json(out / "run.json")["status"] == "incomplete"
    bad.unlink()
    whole = tmp_path / f"bad{second.suffix}"
    shutil.copy(second, whole)
    table = tmp_path / "slides.csv"
    table.write_text(f"path,mpp\n{whole},1.0\n")
    result = predict_slides(run_folder, [table], PredictConfig(), out)
    assert result.failures == ()
    assert set(pd.read_csv(out / "slides.csv")["status"]) == {"done"}
    assert pd.read_csv(out / "failures.csv").empty
    assert read_json(out / "run.json")["status"] == "done"


def test_slides_that_the_model_learnt_from_are_told_of(run_folder, cohort, tmp_path):
    splits = pd.read_csv(run_folder / "splits.csv").set_index("slide_id")["split"]
    train, test = (splits.index[splits == name][0] for name in ("train", "test"))
    rows = pd.read_csv(cohort.table).set_index("slide_id").loc[[train, test]]
    rows["path"] = [str(cohort.table.parent / path) for path in rows["path"]]
    # Another slide of a patient is no more new than the patient is.
    rows.loc["again"] = rows.loc[train]
    rows.loc["again", "path"] = str(cohort.new_slides[0])
    columns = ["path", "patient_id"]
    rows[columns].to_csv(tmp_path / "slides.csv", index_label="slide_id")
    out = tmp_path / "out"
    result = predict_slides(run_folder, [tmp_path / "slides.csv"], PredictConfig(), out)
    found = pd.read_csv(out / "slides.csv").set_index("slide_id")["seen_in_training"]
    assert found.to_dict() == {train: True, test: False, "again": True}
    (caution,) = result.cautions
    assert caution.startswith(f"2 of 3 slides ({train}, again) are of patients that")
    assert read_json(out / "run.json")["notes"]["cautions"] == [caution]
    result = predict_slides(run_folder, cohort.new_slides[1:], PredictConfig(), out)
    (caution,) = result.cautions
    assert caution.startswith(f"2 of 4 slides (again, {train}) are of patients that")


def test_new_slides_are_nothing_to_be_told_of(run_folder, cohort, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "splits.csv").unlink()
    for run in (run_folder, tmp_path / "run"):
        result = predict_slides(
            run, cohort.new_slides[:1], PredictConfig(), tmp_path / f"out {run.name}"
        )
        assert result.cautions == ()


def test_an_interrupted_call_ends_like_an_unbroken_one(
    run_folder, cohort, prediction_folder, tmp_path, monkeypatch
):
    real = prediction_writing.write_heatmap

    def interrupt(path, *args, **kwargs):
        if path.name.startswith("new-2"):
            raise KeyboardInterrupt
        real(path, *args, **kwargs)

    monkeypatch.setattr(prediction_writing, "write_heatmap", interrupt)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_slides(run_folder, cohort.new_slides, PredictConfig(), out, workers=1)
    monkeypatch.setattr(prediction_writing, "write_heatmap", real)
    predict_slides(run_folder, cohort.new_slides, PredictConfig(), out)
    assert read_all(out) == read_all(prediction_folder)


def test_prediction_imports_neither_keras_nor_torch(run_folder, cohort, tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from eosin.workflows.predict import PredictConfig, predict_slides;"
        "run, slide, out = map(Path, sys.argv[1:]);"
        "predict_slides(run, [slide], PredictConfig(), out);"
        "bad = {'keras', 'torch', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    places = [str(p) for p in (run_folder, cohort.new_slides[0], tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch": 0}, "batch must be 1"), ({"threshold": 2.0}, "threshold must lie")],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        PredictConfig(**change)


def test_a_folder_that_is_no_run_is_refused(cohort, tmp_path):
    with pytest.raises(ModelError, match="eosin train"):
        predict_slides(tmp_path, cohort.new_slides, PredictConfig(), tmp_path / "out")


def test_a_packed_slide_is_scored_as_the_slide_is(
    run_folder, tile_folder, cohort, tmp_path
):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    pack = pack_tiles(tmp_path / "tiles").path
    config = PredictConfig()
    packed = predict_slides(run_folder, [pack], config, tmp_path / "packed")
    plain = predict_slides(run_folder, [cohort.table], config, tmp_path / "plain")
    assert not packed.failures
    names = ["slide_id", "score", "label", "tumour_mm2", "tiles"]
    pd.testing.assert_frame_equal(packed.slides[names], plain.slides[names])
