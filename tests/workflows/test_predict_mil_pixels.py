import json
import shutil

import pandas as pd
import pytest

from eosin.core import ConfigError, ModelError, RunError
from eosin.workflows import predict_mil_pixels as module
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.predict_mil import predict_mil
from eosin.workflows.predict_mil_pixels import (
    predict_mil_slides,
    require_pixel_run,
    say_what_was_learnt,
)

FILES = (".geojson", ".heatmap.tif", ".heatmap-colour.tif", ".overlay.jpg")


@pytest.fixture(scope="module")
def predicted(pixel_study, cohort):
    return predict_mil_slides(
        pixel_study / "run", cohort.new_slides, MILPredictConfig(), pixel_study / "out"
    )


def test_every_slide_has_what_slides_of_features_have(predicted, cohort):
    slides = predicted.slides.set_index("slide_id")
    assert sorted(slides.index) == sorted(path.stem for path in cohort.new_slides)
    assert (slides["status"] == "done").all()
    assert not slides["seen_in_training"].any()
    total = slides["probability_normal"] + slides["probability_tumor"]
    assert total.tolist() == pytest.approx([1] * len(slides))
    for name in slides.index:
        for suffix in FILES:
            assert (predicted.folder / f"{name}{suffix}").exists()
            assert (predicted.folder / f"{name}.instances{suffix}").exists()
        assert (predicted.folder / f"{name}.gallery.png").exists()
    patients = pd.read_csv(predicted.folder / "patients.csv")
    assert patients["slides"].sum() == len(slides)
    assert pd.read_csv(predicted.folder / "failures.csv").empty


def test_the_page_says_what_the_calls_do_not_hold_for(predicted):
    text = (predicted.folder / "attention.html").read_text()
    (caution,) = predicted.cautions
    assert caution.startswith("The models learnt from drawn bags of 6 tiles")
    assert "positive ones with 3 witnesses" in text
    assert "1 fold, 2 models" in text
    assert "all folds" not in text


def test_a_second_call_does_only_what_is_missing(pixel_study, predicted, cohort):
    words = (pixel_study / "run", cohort.new_slides, MILPredictConfig())
    parts = sorted((predicted.folder / "parts").glob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in parts}
    parts[0].unlink()
    predict_mil_slides(*words, predicted.folder)
    after = {path: path.stat().st_mtime_ns for path in parts}
    assert [path for path in parts if after[path] == before[path]] == parts[1:]


def test_nothing_is_loaded_where_all_is_done(
    pixel_study, predicted, cohort, monkeypatch
):
    monkeypatch.setattr(module, "MILEnsemble", None)
    words = (pixel_study / "run", cohort.new_slides, MILPredictConfig())
    again = predict_mil_slides(*words, predicted.folder)
    assert again.slides["probability_tumor"].tolist() == pytest.approx(
        predicted.slides["probability_tumor"].tolist()
    )
    with pytest.raises(RunError, match=r"outline_from was 2.0, is 3"):
        predict_mil_slides(
            *words[:2], MILPredictConfig(outline_from=3), predicted.folder
        )


def test_a_table_names_patients_and_a_bad_slide_is_listed(
    pixel_study, cohort, tmp_path
):
    (tmp_path / "bad.svs").write_bytes(b"nothing")
    table = pd.DataFrame(
        {
            "slide_id": ["A", "bad"],
            "patient_id": ["P", "P"],
            "path": [str(cohort.new_slides[0]), "bad.svs"],
        }
    )
    table.to_csv(tmp_path / "slides.csv", index=False)
    words = (pixel_study / "run", [tmp_path / "slides.csv"])
    quiet = MILPredictConfig(gallery_tiles=0)
    result = predict_mil_slides(*words, quiet, tmp_path / "out")
    assert [failure.slide_id for failure in result.failures] == ["bad"]
    assert result.slides["status"].tolist() == ["done", "failed"]
    patients = pd.read_csv(tmp_path / "out" / "patients.csv")
    assert patients["patient_id"].tolist() == ["P"]
    assert not (tmp_path / "out" / "A.gallery.png").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == (
        "incomplete"
    )


def test_a_tile_folder_stands_for_its_slides(pixel_study, tile_folder, tmp_path):
    table = pd.read_csv(tile_folder / "slides.csv").iloc[:2]
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    table.to_csv(tiles / "slides.csv", index=False)
    (tiles / "tiles.parquet").touch()
    quiet = MILPredictConfig(gallery_tiles=0, tile_objects=0)
    result = predict_mil_slides(pixel_study / "run", [tiles], quiet, tmp_path / "out")
    assert result.slides["slide_id"].tolist() == table["slide_id"].tolist()
    assert result.slides["patient_id"].tolist() == table["patient_id"].tolist()
    assert result.slides["tiles"].tolist() == table["n_tiles"].tolist()


def test_runs_of_the_other_kind_are_refused(pixel_study, mil_study, tmp_path):
    with pytest.raises(ModelError, match="take features, not tiles"):
        require_pixel_run(mil_study / "run", MILPredictConfig())
    with pytest.raises(ConfigError, match="tile_px0 is for feature files"):
        require_pixel_run(pixel_study / "run", MILPredictConfig(tile_px0=9))
    bare = tmp_path / "bare"
    shutil.copytree(pixel_study / "run", bare)
    (bare / "sources.csv").unlink()
    with pytest.raises(ModelError, match=r"has no sources\.csv.*train again"):
        require_pixel_run(bare, MILPredictConfig())
    with pytest.raises(ModelError, match="take tiles, not features"):
        predict_mil(
            pixel_study / "run", mil_study / "features", MILPredictConfig(), tmp_path
        )


def test_what_was_learnt_is_told_in_words():
    text = say_what_was_learnt({"bag_size": 40, "witnesses": [20, 5]})
    assert "drawn bags of 40 tiles, positive ones with 20, 5 witnesses" in text
