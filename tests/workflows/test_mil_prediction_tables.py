from dataclasses import replace

import pandas as pd
import pytest

from eosin.core import RunRecord, SlideFailure, write_json
from eosin.workflows.mil_pixel_prediction import PixelJob
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_prediction_tables import (
    describe_models,
    gather_slides,
    score_patients,
    write_tables,
)
from eosin.workflows.mil_run import open_mil_run


@pytest.fixture(scope="module")
def run(pixel_study):
    return open_mil_run(pixel_study / "run")


def make_row(name, tumor, patient="P", **facts):
    return {
        "slide_id": name,
        "patient_id": patient,
        "status": "done",
        "label": "tumor",
        "probability_normal": 1 - tumor,
        "probability_tumor": tumor,
        "lowest_fold": tumor,
        "highest_fold": tumor,
        "seen_in_training": False,
        "tiles": 9,
        "tiles_with_half": 2,
        "damaged_tiles": 1,
    } | facts


def make_record(out, **content):
    return RunRecord(out, "mil predict", {}, {}, None, **content)


def keep_parts(out, *rows):
    for row in rows:
        write_json(out / "parts" / f"{row['slide_id']}.json", {"rows": [row]})


def test_slides_of_earlier_calls_stay_and_failed_ones_are_listed(run, tmp_path):
    empty = make_row("C", 0.0, status="no tissue", label=None, tiles=0)
    keep_parts(tmp_path, make_row("A", 0.3), make_row("B", 0.6), empty)
    jobs = [PixelJob(name, "", None, "P", "") for name in ("B", "C", "X")]
    failure = SlideFailure("X", "mil predict", "is bad")
    record = make_record(tmp_path, failures=[failure])
    result = gather_slides(
        run, jobs, record, MILPredictConfig(), cautions=["Mind <this>."]
    )
    slides = pd.read_csv(tmp_path / "slides.csv")
    assert slides["slide_id"].tolist() == ["B", "C", "X", "A"]
    assert slides["status"].tolist() == ["done", "no tissue", "failed", "done"]
    assert {"path", "damaged_tiles"} <= set(slides)
    # A failed slide has none, and the others' stay whole numbers.
    assert ",False,9,1,,2," in (tmp_path / "slides.csv").read_text()
    assert result.slides["damaged_tiles"].isna().tolist() == [False, False, True, False]
    assert result.cautions == ("Mind <this>.",)
    text = (tmp_path / "attention.html").read_text()
    assert "Mind &lt;this&gt;." in text
    # Witnesses come from outlines; they reach the models by the bags' labels.
    assert "No outline by hand" not in text
    assert "bags were drawn by labels of tiles" in text
    # The most suspicious slide stands first; what has no tissue is not shown.
    assert text.index(">B</h2>") < text.index(">A</h2>")
    assert ">C</h2>" not in text
    # A patient is scored by the slide in which most was found.
    patients = pd.read_csv(tmp_path / "patients.csv")
    assert patients["probability_tumor"].tolist() == [0.6]
    assert patients["slides"].tolist() == [2]


def test_a_failed_slide_stays_listed_until_it_is_asked_for_again(run, tmp_path):
    keep_parts(tmp_path, make_row("A", 0.3))
    bad, good = (PixelJob(name, "", None, "P", "") for name in ("X", "A"))
    failure = SlideFailure("X", "mil predict", "is bad")
    record = make_record(tmp_path, failures=[failure])
    gather_slides(run, [bad, good], record, MILPredictConfig())
    record = make_record(tmp_path)
    result = gather_slides(run, [good], record, MILPredictConfig())
    assert result.failures == (failure,)
    # The record calls the folder incomplete.
    assert record.failures == [failure]
    slides = pd.read_csv(tmp_path / "slides.csv")
    assert slides["slide_id"].tolist() == ["A", "X"]
    assert slides["status"].tolist() == ["done", "failed"]
    assert pd.read_csv(tmp_path / "failures.csv")["message"].tolist() == ["is bad"]
    # It fails again, and is listed once.
    record = make_record(tmp_path, failures=[failure])
    result = gather_slides(run, [bad], record, MILPredictConfig())
    assert result.failures == (failure,)
    assert result.slides["slide_id"].tolist() == ["X", "A"]


def test_nothing_is_written_where_all_is_done(run, tmp_path):
    keep_parts(tmp_path, make_row("A", 0.3))
    job = PixelJob("A", "", None, "P", "")
    record = make_record(tmp_path, is_done=True)
    result = gather_slides(run, [job], record, MILPredictConfig())
    assert result.slides["tiles"].tolist() == [9]
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_no_slides_are_no_patients(run, tmp_path):
    slides = pd.DataFrame([make_row("A", 0.3, status="failed")])
    assert score_patients(run, slides).empty
    write_tables(tmp_path, {"a.csv": slides}, [])
    assert pd.read_csv(tmp_path / "failures.csv").empty
    assert len(pd.read_csv(tmp_path / "a.csv")) == 1


def test_models_are_counted(run, mil_study):
    assert describe_models(run) == "gated_attention · 1 fold, 2 models"
    many = open_mil_run(mil_study / "run")
    assert describe_models(many) == "gated_attention · 3 folds, 3 models"
    one = replace(run, models=(("fold_0/model_0.keras",),))
    assert describe_models(one).endswith("1 fold, 1 model")
