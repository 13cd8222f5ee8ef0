import shutil
from dataclasses import replace

import pytest

from eosin.core import Progress
from eosin.evaluation import evaluate_predictions, read_predictions
from eosin.workflows.mil_evaluation_report import EvaluatedMIL, report_mil
from eosin.workflows.mil_run import open_mil_run


@pytest.fixture
def make_report(mil_study, tmp_path):
    run = open_mil_run(mil_study / "run")
    table, names = read_predictions(mil_study / "run" / "predictions.parquet")

    def make(split="test", **content):
        changed = replace(run, **content)
        table["split"] = split
        result = evaluate_predictions(
            table,
            class_names=names,
            threshold=None,
            slide_threshold=0.5,
            split=split,
            n_bootstrap=20,
        )
        study = EvaluatedMIL(
            run=changed,
            split=split,
            predictions=table,
            result=result,
            baseline=None,
            choices=run.choose_by_fold(),
            n_instances=dict.fromkeys(table["id"], 2),
            cautions=[*result.cautions, "Mind this."],
        )
        report_mil(study, tmp_path, Progress())
        return (tmp_path / "report.html").read_text()

    return make


def test_the_report_says_how_the_model_came_about(make_report, mil_study):
    text = make_report()
    assert "Mind this." in text
    assert "3 folds, 3 models; each patient is scored by the fold" in text
    assert "64 px at 1 micrometres per pixel" in text
    assert "labels of slides alone; no outline was used" in text
    assert "No baseline was scored beside the model" in text


def test_the_report_names_the_columns_that_the_models_take(make_report, mil_study):
    card = open_mil_run(mil_study / "run").card
    text = make_report(card={**card, "clinical": ["age", "sex"]})
    assert "no outline was used; with the columns age, sex" in text


def test_external_cohorts_show_the_ensemble_and_no_overlay(make_report, tmp_path):
    text = make_report(split="external")
    assert "the mean of all folds" in text
    assert not (tmp_path / "overlays").exists()


def test_slides_or_features_that_are_gone_cost_the_pictures(
    make_report, mil_study, tmp_path
):
    record = open_mil_run(mil_study / "run").record
    notes = {"features": str(tmp_path), "made_from": {}}
    text = make_report(record={**record, "notes": notes})
    assert "not stated by the features" in text
    assert not (tmp_path / "overlays").exists()


def test_a_run_without_a_history_has_no_curves(make_report, mil_study, tmp_path):
    shutil.copytree(mil_study / "run", tmp_path / "bare")
    (tmp_path / "bare" / "history.csv").unlink()
    assert 'id="training"' not in make_report(path=tmp_path / "bare")
