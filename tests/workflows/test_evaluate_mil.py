import json
import shutil

import numpy as np
import pandas as pd
import pytest

from eosin.core import (
    CohortError,
    ManifestError,
    ModelError,
    RunError,
    read_json,
    write_json,
)
from eosin.evaluation import read_predictions
from eosin.workflows.encoder_patients import LEARNT
from eosin.workflows.evaluate_mil import evaluate_mil_run
from eosin.workflows.mil_run import open_mil_run
from eosin.workflows.train_mil import MILStudyConfig, train_mil_study


@pytest.fixture(scope="module")
def evaluated(mil_study):
    return evaluate_mil_run(
        mil_study / "run", out=mil_study / "evaluation", n_bootstrap=50
    )


@pytest.fixture(scope="module")
def others(mil_study, plant_witnesses):
    """An external cohort of six patients."""
    labels = {f"E{i}": i % 2 for i in range(6)}
    folder = plant_witnesses(mil_study / "others", labels)
    table = pd.DataFrame(
        {
            "slide_id": list(labels),
            "patient_id": [f"X{i}" for i in range(6)],
            "label": [("normal", "tumor")[v] for v in labels.values()],
        }
    )
    table.to_csv(mil_study / "others.csv", index=False)
    return folder, mil_study / "others.csv"


def test_a_caution_of_whom_the_encoder_learnt_from_stays(mil_study, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(mil_study / "run", run)
    record = read_json(run / "run.json")
    said = f"{LEARNT} 2 of these 24 patients."
    record["notes"]["cautions"] = [said, "Of another kind."]
    write_json(run / "run.json", record)
    result = evaluate_mil_run(run, n_bootstrap=10)
    assert said in result.cautions
    assert "Of another kind." not in result.cautions
    page = (run / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "2 of these 24 patients" in page


def read_slides(folder):
    table, _ = read_predictions(folder / "predictions.parquet")
    return table[table["level"] == "slide"].set_index("id")


def test_planted_witnesses_are_found_on_held_out_patients(mil_study, evaluated):
    assert evaluated.metrics["slide"]["roc_auc"]["value"] > 0.9
    assert evaluated.metrics["slide"]["roc_auc"]["n"] == 14
    assert evaluated.metrics["patient"]["roc_auc"]["n"] == 12
    assert json.loads((evaluated.folder / "metrics.json").read_text()) == (
        evaluated.metrics
    )
    # All tissue was painted alike, so that colour tells nothing.
    assert evaluated.baseline_metrics["slide"]["roc_auc"]["value"] < 0.9


def test_each_patient_is_scored_as_the_own_fold_chose(mil_study, evaluated):
    run = open_mil_run(mil_study / "run")
    choices = run.choose_by_fold()
    slides = read_slides(evaluated.folder)
    test = run.held_out[run.held_out["split"] == "test"]
    assert sorted(slides.index) == sorted(test["bag_id"])
    n_right = 0
    for row in test.to_dict("records"):
        choice = choices[row["fold"]]
        probability = 1 / (1 + np.exp(-row["logit_0"] / choice.temperature))
        found = slides.loc[row["bag_id"], "probability_tumor"]
        assert found == pytest.approx(probability)
        n_right += (probability >= choice.threshold) == row["label"]
    accuracy = evaluated.metrics["slide"]["accuracy"]["value"]
    assert accuracy == pytest.approx(n_right / 14)


def test_the_report_is_whole_and_speaks_of_slides(evaluated):
    text = (evaluated.folder / "report.html").read_text()
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "tumor slides" in text
    assert "A slide is called tumor from, by fold" in text
    assert "All slides of a patient are in one split" in text
    assert "gated_attention" in text
    assert "score of a slide is an average of tiles" not in text
    assert len(list((evaluated.folder / "overlays").glob("*.jpg"))) == 12
    assert (evaluated.folder / "figures" / "slide-roc.png").exists()


def test_shuffled_labels_teach_nothing(mil_study, tmp_path):
    table = pd.read_csv(mil_study / "slides.csv")
    rng = np.random.default_rng(5)
    patients = table["patient_id"].unique()
    label = dict(zip(patients, rng.permutation(np.arange(12) % 2), strict=True))
    names = np.array(["normal", "tumor"])
    table["label"] = names[[label[p] for p in table["patient_id"]]]
    table.drop(columns="path").to_csv(tmp_path / "slides.csv", index=False)
    config = MILStudyConfig(
        classes=("normal", "tumor"), folds=3, widths=(8,), epochs=5, n_bootstrap=0
    )
    train_mil_study(
        mil_study / "features", tmp_path / "slides.csv", config, tmp_path / "run"
    )
    result = evaluate_mil_run(tmp_path / "run", n_bootstrap=20)
    assert 0.1 < result.metrics["patient"]["roc_auc"]["value"] < 0.85


def test_an_external_cohort_is_scored_by_all_folds(mil_study, others, tmp_path):
    features, cohort = others
    result = evaluate_mil_run(
        mil_study / "run", on=features, cohort=cohort, out=tmp_path, n_bootstrap=20
    )
    assert result.metrics["slide"]["roc_auc"]["value"] == 1
    assert set(read_predictions(tmp_path / "predictions.parquet")[0]["split"]) == {
        "external"
    }
    assert "of all folds together" in (tmp_path / "report.html").read_text()


def test_flipped_external_labels_change_no_probability(mil_study, others, tmp_path):
    features, cohort = others
    table = pd.read_csv(cohort)
    flipped = table.assign(
        label=table["label"].map({"normal": "tumor", "tumor": "normal"})
    )
    flipped.to_csv(tmp_path / "flipped.csv", index=False)
    found = []
    for name, path in (("as is", cohort), ("flipped", tmp_path / "flipped.csv")):
        out = tmp_path / name
        result = evaluate_mil_run(
            mil_study / "run", on=features, cohort=path, out=out, n_bootstrap=0
        )
        found.append((read_slides(out), result.metrics["slide"]))
    (first, told), (second, turned) = found
    pd.testing.assert_series_equal(
        first["probability_tumor"], second["probability_tumor"]
    )
    # The calls are the same, so that every right one is wrong now.
    assert told["accuracy"]["value"] == pytest.approx(1 - turned["accuracy"]["value"])
    assert told["roc_auc"]["value"] == pytest.approx(1 - turned["roc_auc"]["value"])


def test_what_was_seen_in_training_is_refused(mil_study, others, tmp_path):
    features, cohort = others
    table = pd.read_csv(cohort)
    table.loc[1, "patient_id"] = "P3"
    table.to_csv(tmp_path / "seen.csv", index=False)
    words = {"on": features, "out": tmp_path / "out"}
    with pytest.raises(ManifestError, match=r"patient_id.*P3"):
        evaluate_mil_run(mil_study / "run", cohort=tmp_path / "seen.csv", **words)
    table.assign(patient_id=table["slide_id"], label=None).to_csv(
        tmp_path / "bare.csv", index=False
    )
    with pytest.raises(CohortError, match="use 'eosin mil predict'"):
        evaluate_mil_run(mil_study / "run", cohort=tmp_path / "bare.csv", **words)
    with pytest.raises(RunError, match="--on FEATURES --cohort"):
        evaluate_mil_run(mil_study / "run", on=features)
    with pytest.raises(ModelError, match=r"has no card\.json"):
        evaluate_mil_run(tmp_path)


def test_a_second_call_scores_nothing(mil_study, evaluated):
    again = evaluate_mil_run(
        mil_study / "run", out=mil_study / "evaluation", n_bootstrap=50
    )
    assert again.metrics == evaluated.metrics
    with pytest.raises(RunError, match="n_bootstrap was 50, is 10"):
        evaluate_mil_run(
            mil_study / "run", out=mil_study / "evaluation", n_bootstrap=10
        )


def test_three_classes_and_bags_of_patients(mil_study, tmp_path):
    table = pd.read_csv(mil_study / "slides.csv")
    number = table["patient_id"].str[1:].astype(int)
    table["label"] = np.array(["a", "b", "c"])[number % 3]
    table.drop(columns="path").to_csv(tmp_path / "slides.csv", index=False)
    config = MILStudyConfig(
        classes=("a", "b", "c"),
        per="patient",
        folds=3,
        widths=(8,),
        epochs=2,
        n_bootstrap=0,
    )
    train_mil_study(
        mil_study / "features", tmp_path / "slides.csv", config, tmp_path / "run"
    )
    result = evaluate_mil_run(tmp_path / "run", n_bootstrap=20)
    assert result.metrics["slide"]["roc_auc"]["n"] == 12
    assert any("what stands as a slide" in text for text in result.cautions)
    assert result.baseline_metrics["slide"]["roc_auc"]["n"] == 12
    text = (result.folder / "report.html").read_text()
    assert "the class with the highest probability" in text


def test_a_run_from_pixels_is_evaluated_bag_by_bag(pixel_study, tmp_path):
    found = evaluate_mil_run(pixel_study / "run", out=tmp_path / "e", n_bootstrap=20)
    assert found.metrics["slide"]["roc_auc"]["n"] == 12
    # Colour alone is scored on the same bags.
    assert found.baseline_metrics["slide"]["roc_auc"]["n"] == 12
    assert any("stands as a slide" in text for text in found.cautions)
    text = (tmp_path / "e" / "report.html").read_text()
    # Bags are of no patient by themselves, and are not counted as patients.
    assert "On 12 bags the model never saw" in text
    assert "AUC, bags" in text
    assert "No patient ids were given" not in text
    assert "Bags of different splits share no patient" in text
    assert "Bag by bag" in text
    assert "Score of a bag" in text
    for word in ("Slides<", "Patients<", ">Patient<", "Slide by slide"):
        assert word not in text
    assert "Of 6 tumor bags: " in text
    assert "of ten bags given 0.8" in text
    assert "Intervals are drawn over bags" in text
    assert "what other bags of the same tiles could give" in text
    for word in ("normal slide", "tumor slide", "ten slides", "over patients"):
        assert word not in text
    sources = pd.read_csv(pixel_study / "run" / "sources.csv")
    n = sources.loc[sources["split"] == "test", "patient_id"].nunique()
    assert not any("12 patients" in text for text in found.cautions)
    assert any(f"are scored share {n} patients, and" in t for t in found.cautions)
    assert "6 drawn tiles; positive ones hold 3 witnesses" in text
    assert "smallcnn, first weights: none" in text
    assert "64 px at 1 micrometres per pixel" in text
    with pytest.raises(ModelError, match="its models take tiles, and --on takes"):
        evaluate_mil_run(
            pixel_study / "run", on=tmp_path, cohort=tmp_path, out=tmp_path / "x"
        )


def test_a_run_of_the_default_learning_rate_is_evaluated(pixel_study, tmp_path):
    """It is chosen by the first weights, and was not said."""
    run = tmp_path / "run"
    shutil.copytree(pixel_study / "run", run)
    record = json.loads((run / "run.json").read_text())
    record["settings"]["learning_rate"] = None
    (run / "run.json").write_text(json.dumps(record))
    evaluate_mil_run(run, n_bootstrap=0)
    text = (run / "evaluation" / "report.html").read_text()
    assert "at most 4 epochs, 4 bags a step" in text
