import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet
from sklearn.metrics import roc_auc_score

from eosin.core import ManifestError, ModelError, RunError
from eosin.evaluation import (
    labels_of,
    probabilities_of,
    read_predictions,
    select_level,
)
from eosin.inference import read_card
from eosin.workflows import evaluate
from eosin.workflows.demo import make_phantom_cohort
from eosin.workflows.evaluate import evaluate_run
from eosin.workflows.tile import TileConfig, tile_cohort


def test_the_metrics_are_those_of_scikit_learn_on_the_written_predictions(
    evaluation_folder,
):
    metrics = json.loads((evaluation_folder / "metrics.json").read_text())
    table, _ = read_predictions(evaluation_folder / "predictions.parquet")
    for level in ("tile", "slide", "patient"):
        rows = select_level(table, level)
        rows = rows[rows["label"].notna()]
        expected = roc_auc_score(labels_of(rows), rows["probability_tumor"])
        assert metrics[level]["roc_auc"]["value"] == pytest.approx(expected)
        assert metrics[level]["roc_auc"]["n"] == len(rows)


def test_three_classes_have_their_probabilities_and_metrics(three_classes):
    folder = three_classes / "run" / "evaluation"
    table, names = read_predictions(folder / "predictions.parquet")
    assert names == ("normal", "adenoma", "carcinoma")
    metrics = json.loads((folder / "metrics.json").read_text())
    for level in ("tile", "slide", "patient"):
        rows = select_level(table, level)
        labels, probabilities = labels_of(rows), probabilities_of(rows, names)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        expected = {
            "roc_auc": roc_auc_score(labels, probabilities, multi_class="ovr"),
            "accuracy": (labels == probabilities.argmax(axis=1)).mean(),
        }
        for name, value in expected.items():
            assert metrics[level][name]["value"] == pytest.approx(value)
    assert metrics["tile"]["roc_auc"]["value"] > 0.9
    card = read_card(three_classes / "run")
    assert card.class_names == names
    assert (card.tile_threshold, card.slide_threshold) == (None, None)


def test_only_held_out_patients_are_scored(evaluation_folder, run_folder):
    table, _ = read_predictions(evaluation_folder / "predictions.parquet")
    splits = pd.read_csv(run_folder / "splits.csv")
    held_out = set(splits.loc[splits["split"] == "test", "patient_id"])
    assert set(table["patient_id"]) == held_out
    assert set(table["split"]) == {"test"}


def test_the_report_is_one_file_that_names_made_slides(evaluation_folder):
    report = (evaluation_folder / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "made" in report.lower()
    assert (evaluation_folder / "figures" / "slide-roc.png").stat().st_size > 0


def test_the_colour_baseline_stands_beside_the_model(run_folder, evaluation_folder):
    result = evaluate_run(run_folder, n_bootstrap=50)
    assert result.folder == evaluation_folder
    assert "roc_auc" in result.baseline_metrics["tile"]


def test_an_external_cohort_is_scored_with_nothing_chosen_on_it(run_folder, tmp_path):
    cohort = make_phantom_cohort(
        tmp_path / "other", seed=5, n_patients=4, n_new=0, size_px=(768, 640)
    )
    rows = pd.read_csv(cohort.table)
    rows["slide_id"] = "other-" + rows["slide_id"]
    rows["patient_id"] = "other-" + rows["patient_id"]
    rows.to_csv(cohort.table, index=False)
    tile_cohort(cohort.table, TileConfig(mpp=1.0, tile_px=64), tmp_path / "tiles")
    before = read_card(run_folder)
    result = evaluate_run(
        run_folder, on=tmp_path / "tiles", out=tmp_path / "external", n_bootstrap=20
    )
    table, _ = read_predictions(tmp_path / "external" / "predictions.parquet")
    assert set(table["split"]) == {"external"}
    assert result.metrics["slide"]["roc_auc"]["n"] == 4
    assert read_card(run_folder) == before

    # Labels turned round change the numbers, and nothing of what was predicted.
    manifest = tmp_path / "tiles" / "tiles.parquet"
    tiles = parquet.read_table(manifest)
    place = tiles.schema.get_field_index("label")
    turned = pc.subtract(pa.scalar(1, tiles["label"].type), tiles["label"])
    turned = turned.cast(tiles["label"].type)
    parquet.write_table(tiles.set_column(place, tiles.field(place), turned), manifest)
    slides = pd.read_csv(tmp_path / "tiles" / "slides.csv", dtype=str)
    slides["label"] = slides["label"].map({"tumor": "normal", "normal": "tumor"})
    slides.to_csv(tmp_path / "tiles" / "slides.csv", index=False)
    flipped = evaluate_run(
        run_folder, on=tmp_path / "tiles", out=tmp_path / "flipped", n_bootstrap=0
    )
    again, _ = read_predictions(tmp_path / "flipped" / "predictions.parquet")
    pd.testing.assert_frame_equal(
        again.drop(columns="label"), table.drop(columns="label")
    )
    for level in ("tile", "slide"):
        first, second = (r.metrics[level]["roc_auc"] for r in (result, flipped))
        assert second["value"] == pytest.approx(1 - first["value"])


def test_labels_that_changed_are_noticed(run_folder, tile_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "evaluation", ignore_errors=True)
    shutil.copytree(tile_folder, tmp_path / "tiles")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["notes"]["tiles"] = str(tmp_path / "tiles")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    evaluate_run(tmp_path / "run", n_bootstrap=0)
    slides = pd.read_csv(tmp_path / "tiles" / "slides.csv", dtype=str)
    slides.loc[0, "label"] = "tumor" if slides["label"][0] == "normal" else "normal"
    slides.to_csv(tmp_path / "tiles" / "slides.csv", index=False)
    with pytest.raises(RunError, match=r"input slides.csv changed"):
        evaluate_run(tmp_path / "run", n_bootstrap=0)


def test_a_cohort_that_was_trained_on_is_no_external_one(
    run_folder, tile_folder, tmp_path
):
    with pytest.raises(ManifestError, match=r"10 patient_id\(s\) were in the training"):
        evaluate_run(run_folder, on=tile_folder, out=tmp_path / "external")


def test_an_external_cohort_needs_a_folder_of_its_own(run_folder, tile_folder):
    with pytest.raises(RunError, match="add -o"):
        evaluate_run(run_folder, on=tile_folder)


def test_tiles_of_another_size_are_refused(run_folder, cohort, tmp_path):
    tile_cohort(cohort.table, TileConfig(mpp=2.0, tile_px=32), tmp_path / "tiles")
    with pytest.raises(ModelError, match=r"tile_px 64, the tiles have 32; mpp 1"):
        evaluate_run(run_folder, on=tmp_path / "tiles", out=tmp_path / "external")


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"card\.json"):
        evaluate_run(tmp_path)


def test_a_run_of_another_version_is_refused(run_folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(ModelError, match="another version of eosin"):
        evaluate_run(copy)


def test_tiles_that_are_gone_are_named(run_folder, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("evaluation"))
    record = json.loads((copy / "run.json").read_text())
    record["notes"]["tiles"] = str(tmp_path / "gone")
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(ManifestError, match="give tiles by --on"):
        evaluate_run(copy)


def test_a_finished_evaluation_is_reused(run_folder, evaluation_folder, monkeypatch):
    monkeypatch.setattr(
        evaluate, "score_by_features", lambda *a, **k: pytest.fail("scored again")
    )
    result = evaluate_run(run_folder, n_bootstrap=50)
    written = json.loads((evaluation_folder / "metrics.json").read_text())
    assert result.metrics == written


def test_a_run_whose_tiles_were_cut_anew_is_not_scored_on_them(
    run_folder, tile_folder, tmp_path
):
    shutil.copytree(run_folder, tmp_path / "run")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    card["training_data"]["tiles_sha256"] = "0" * 64
    (tmp_path / "run" / "card.json").write_text(json.dumps(card))
    with pytest.raises(ManifestError, match="no longer those that"):
        evaluate_run(tmp_path / "run", n_bootstrap=0)


def test_a_changed_card_is_evaluated_anew(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "evaluation", ignore_errors=True)
    evaluate_run(tmp_path / "run", n_bootstrap=0)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    card["tile_threshold"] = 0.999
    (tmp_path / "run" / "card.json").write_text(json.dumps(card))
    with pytest.raises(RunError, match="input model changed"):
        evaluate_run(tmp_path / "run", n_bootstrap=0)


def test_a_patients_id_keeps_its_zeros(run_folder, tile_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    splits = pd.read_csv(run_folder / "splits.csv", dtype=str)
    first = splits["patient_id"][0]
    splits["patient_id"] = splits["patient_id"].replace(first, "007")
    splits.to_csv(tmp_path / "run" / "splits.csv", index=False)
    shutil.copytree(tile_folder, tmp_path / "other")
    slides = pd.read_csv(tmp_path / "other" / "slides.csv", dtype=str)
    slides["slide_id"] = "new-" + slides["slide_id"]
    slides["patient_id"] = [f"q{i}" for i in range(len(slides) - 1)] + ["007"]
    slides.to_csv(tmp_path / "other" / "slides.csv", index=False)
    with pytest.raises(ManifestError, match=r"patient_id\(s\) were in the training"):
        evaluate_run(
            tmp_path / "run", on=tmp_path / "other", out=tmp_path / "e", n_bootstrap=0
        )
