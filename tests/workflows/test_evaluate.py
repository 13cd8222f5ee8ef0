"""Evaluation as a journey: the same claims for every kind of model."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eosin.cohorts import make_phantom_cohort
from eosin.core import (
    CohortError,
    ConfigError,
    ManifestError,
    ModelError,
    Progress,
    RunError,
)
from eosin.evaluation import labels_of, read_predictions, select_level
from eosin.runs.card import Card
from eosin.runs.origin import LEARNT
from eosin.runs.run import find_logits, read_run
from eosin.settings import TilingSettings
from eosin.tiles import open_tile_folder, read_manifest, write_manifest
from eosin.workflows.evaluate import evaluate
from eosin.workflows.tile import tile_cohort

LEVELS = {
    "tile": ["tile", "slide", "patient"],
    "slide": ["slide", "patient"],
    "patient": ["patient"],
    "bag": ["bag"],
}


class Silent(Progress):
    """Nothing is to be done, and so nothing is to be said."""

    def task(self, name, total):
        raise AssertionError(name)


@pytest.fixture(scope="module")
def evaluated(any_run):
    """What was held out by a run of every kind."""
    out = any_run.path.with_name(f"{any_run.path.name} evaluated")
    return evaluate(any_run.path, out, n_bootstrap=50)


def copy_run(made, place, **changes):
    """Copy a run, with other contents of `card.json`."""
    shutil.copytree(made.path, place, ignore=shutil.ignore_patterns("evaluation"))
    card = json.loads((place / "card.json").read_text())
    (place / "card.json").write_text(json.dumps(card | changes))
    return place


def renote(run, **notes):
    record = json.loads((run / "run.json").read_text())
    record["notes"] |= {name: str(value) for name, value in notes.items()}
    (run / "run.json").write_text(json.dumps(record))


def test_the_metrics_are_those_of_scikit_learn_on_the_written_predictions(
    any_run, evaluated
):
    table, _ = read_predictions(evaluated.folder / "predictions.parquet")
    unit = Card.read(any_run.path).unit
    assert list(evaluated.metrics) == list(evaluated.baseline) == LEVELS[unit]
    assert json.loads((evaluated.folder / "metrics.json").read_text()) == (
        evaluated.metrics
    )
    for level, metrics in evaluated.metrics.items():
        rows = select_level(table, level)
        rows = rows[rows["label"].notna()]
        expected = roc_auc_score(labels_of(rows), rows["probability_tumor"])
        assert metrics["roc_auc"]["value"] == pytest.approx(expected)
        assert metrics["roc_auc"]["n"] == len(rows)
        # Colour alone is scored on the very same.
        assert evaluated.baseline[level]["roc_auc"]["n"] == len(rows)


def test_each_held_out_unit_is_called_as_its_own_fold_chose(any_run, evaluated):
    run = read_run(any_run.path)
    table, _ = read_predictions(evaluated.folder / "predictions.parquet")
    assert set(table["split"]) == {"test"}
    unit, n_right = run.card.unit, 0
    probability = select_level(table, unit).set_index("id")["probability_tumor"]
    tested = run.held_out[run.held_out["split"] == "test"]
    assert sorted(probability.index) == sorted(tested["id"])
    for fold, rows in tested.groupby("fold"):
        card = run.card.folds[fold]
        expected = 1 / (1 + np.exp(-find_logits(rows)[:, 0] / card.temperature))
        np.testing.assert_allclose(probability[rows["id"]], expected, rtol=1e-6)
        labelled = rows["label"].notna().to_numpy()
        threshold = card.tile_threshold if unit == "tile" else card.threshold
        calls = expected[labelled] >= threshold
        n_right += (calls == labels_of(rows[labelled])).sum()
    accuracy = evaluated.metrics[unit]["accuracy"]
    assert accuracy["value"] == pytest.approx(n_right / accuracy["n"])


def test_a_finished_evaluation_is_reused_and_other_settings_are_named(
    any_run, evaluated
):
    out = evaluated.folder
    again = evaluate(any_run.path, out, n_bootstrap=50, progress=Silent())
    assert again == evaluated
    with pytest.raises(RunError, match="n_bootstrap was 50, is 10"):
        evaluate(any_run.path, out, n_bootstrap=10)


@pytest.mark.parametrize("kind", ["tiles", "folds"])
def test_unlabelled_tiles_count_in_a_slides_score(request, tmp_path, kind):
    made = request.getfixturevalue(f"{kind}_run")
    evaluate(made.path, tmp_path / "e", n_bootstrap=0)
    table, _ = read_predictions(tmp_path / "e" / "predictions.parquet")
    tiles, slides = (select_level(table, level) for level in ("tile", "slide"))
    assert tiles["label"].isna().any()
    run = read_run(made.path)
    fold_of = run.splits.query("split == 'test'").set_index("slide_id")["fold"]
    for slide in slides.to_dict("records"):
        own = tiles.loc[tiles["slide_id"] == slide["id"], "probability_tumor"]
        n = max(1, round(run.card.folds[fold_of[slide["id"]]].share * len(own)))
        highest, others = own.nlargest(n).mean(), (1 - own).nsmallest(n).mean()
        assert slide["probability_tumor"] == pytest.approx(highest / (highest + others))


def test_three_classes_have_their_probabilities_and_metrics(three_classes):
    folder = three_classes / "run" / "evaluation"
    table, target = read_predictions(folder / "predictions.parquet")
    assert target.class_names == ("normal", "adenoma", "carcinoma")
    metrics = json.loads((folder / "metrics.json").read_text())
    for level in ("tile", "slide", "patient"):
        rows = select_level(table, level)
        labels, values = labels_of(rows), target.take(rows)
        expected = {
            "roc_auc": roc_auc_score(labels, values, multi_class="ovr"),
            "accuracy": (labels == values.argmax(axis=1)).mean(),
        }
        for name, value in expected.items():
            assert metrics[level][name]["value"] == pytest.approx(value)
    assert metrics["tile"]["roc_auc"]["value"] > 0.9
    card = Card.read(three_classes / "run")
    assert (card.together.tile_threshold, card.together.threshold) == (None, None)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory, plant_witnesses, mil_study):
    """External cohorts: tiles, and features with their slide table."""
    folder = tmp_path_factory.mktemp("external")
    cohort = make_phantom_cohort(
        folder / "cohort", seed=5, n_patients=4, n_new=0, size_px=(768, 640)
    )
    rows = pd.read_csv(cohort.table)
    for column in ("slide_id", "patient_id"):
        rows[column] = "other-" + rows[column]
    rows.to_csv(cohort.table, index=False)
    tile_cohort(cohort.table, folder / "tiles", TilingSettings(mpp=1.0, tile_px=64))
    labels = {f"E{i}": i % 2 for i in range(6)}
    plant_witnesses(folder / "features", labels)
    table = pd.DataFrame({"slide_id": list(labels)})
    table["patient_id"] = [f"X{i // 2}" for i in range(6)]
    table["label"] = [("normal", "tumor")[v] for v in labels.values()]
    table.assign(age=None, sex="f").to_csv(folder / "slides.csv", index=False)
    by_patient = table.assign(patient_id=table["slide_id"], age=70, sex="m")
    by_patient.to_csv(folder / "patients.csv", index=False)
    return folder


def find_external(kind, strangers):
    """Say what of the external cohorts a kind of model is scored on."""
    if kind in ("slides", "patients"):
        cohort = strangers / f"{kind}.csv"
        return {"on": strangers / "features", "cohort": cohort}
    return {"on": strangers / "tiles"}


def turn_labels(given, place):
    """Copy an external cohort, with every label turned round."""
    turned = {"tumor": "normal", "normal": "tumor"}
    if "cohort" in given:
        table = pd.read_csv(given["cohort"])
        table.assign(label=table["label"].map(turned)).to_csv(place, index=False)
        return given | {"cohort": place}
    shutil.copytree(given["on"], place)
    tiles, info = read_manifest(place / "tiles.parquet")
    write_manifest(
        place / "tiles.parquet", tiles.assign(label=1 - tiles["label"]), info
    )
    slides = pd.read_csv(place / "slides.csv", dtype=str)
    slides["label"] = slides["label"].map(turned)
    slides.to_csv(place / "slides.csv", index=False)
    return {"on": place}


@pytest.mark.parametrize(
    ("kind", "n"),
    [("tiles", 4), ("folds", 4), ("slides", 6), ("patients", 6), ("encoded", 4),
     ("drawn", 4)],
)  # fmt: skip
def test_an_external_cohort_is_scored_by_all_folds_and_nothing_is_chosen_on_it(
    request, strangers, tmp_path, kind, n
):
    made = request.getfixturevalue(f"{kind}_run")
    given, card = find_external(kind, strangers), Card.read(made.path)
    level = "patient" if card.unit == "patient" else "slide"
    results, tables = [], []
    for name, words in (
        ("as is", given),
        ("turned", turned := turn_labels(given, tmp_path / "turned cohort")),
    ):
        result = evaluate(made.path, tmp_path / name, **words, n_bootstrap=0)
        results.append(result.metrics[level])
        notes = json.loads((tmp_path / name / "run.json").read_text())["notes"]
        assert "model_calls" in notes or card.learner != "tiles"
        # Slides are no drawn bags.
        is_told = any("learnt from drawn bags" in text for text in result.cautions)
        assert is_told == (kind == "drawn")
        table, _ = read_predictions(tmp_path / name / "predictions.parquet")
        assert set(table["split"]) == {"external"}
        tables.append(table.drop(columns="label"))
    assert Card.read(made.path) == card
    assert results[0]["roc_auc"]["n"] == n
    pd.testing.assert_frame_equal(*tables)
    # The calls are the same, so that every right one is wrong now.
    for metric in ("roc_auc", "accuracy"):
        assert results[0][metric]["value"] == pytest.approx(
            1 - results[1][metric]["value"]
        )
    if kind == "slides":
        assert results[0]["roc_auc"]["value"] == 1
    # Other labels are another evaluation.
    with pytest.raises(RunError, match=r"input (slides.csv|cohort|tiles)"):
        evaluate(made.path, tmp_path / "as is", **turned, n_bootstrap=0)


@pytest.mark.parametrize("kind", ["tiles", "slides", "encoded"])
@pytest.mark.parametrize("column", ["patient_id", "slide_id"])
def test_an_external_cohort_shares_nobody_with_training(
    request, strangers, tmp_path, kind, column
):
    made = request.getfixturevalue(f"{kind}_run")
    given = find_external(kind, strangers)
    known = read_run(made.path).splits[column].iloc[0]
    if "cohort" in given:
        path = tmp_path / "s.csv"
        table = pd.read_csv(given["cohort"], dtype=str)
        words = given | {"cohort": path}
    else:
        shutil.copytree(given["on"], tmp_path / "tiles")
        path, words = tmp_path / "tiles" / "slides.csv", {"on": tmp_path / "tiles"}
        table = pd.read_csv(path, dtype=str)
        bare = table[:1].assign(slide_id="without-tiles")
        table = pd.concat([table, bare], ignore_index=True)
    table.loc[len(table) - 1, column] = known
    table.to_csv(path, index=False)
    with pytest.raises(ManifestError, match=rf"1 {column}.*\({known}\)"):
        evaluate(made.path, tmp_path / "out", **words)


def test_tiles_and_features_of_another_kind_are_refused(
    tiles_run, slides_run, encoded_run, pixels_run, strangers, cohort, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(RunError, match="add -o"):
        evaluate(tiles_run.path, on=strangers / "tiles")
    tile_cohort(cohort.table, tmp_path / "tiles", TilingSettings(mpp=2.0, tile_px=32))
    for made in (tiles_run, encoded_run):
        with pytest.raises(ModelError, match=r"tile_px 64, these have 32; mpp 1"):
            evaluate(made.path, out, on=tmp_path / "tiles")
    other = copy_run(tiles_run, tmp_path / "classes", class_names=["normal", "x"])
    with pytest.raises(ModelError, match="tells normal, x apart, these have normal, t"):
        evaluate(other, out, on=strangers / "tiles")
    words = find_external("slides", strangers)
    sees = json.loads((slides_run.path / "card.json").read_text())["sees"]
    run = copy_run(slides_run, tmp_path / "uni", sees=sees | {"encoder": "uni"})
    with pytest.raises(ModelError, match="features of uni, these are of made"):
        evaluate(run, out, **words)
    # Nobody knows the encoder of these, by which slides could be encoded.
    with pytest.raises(ModelError, match="its encoder is not known; score features"):
        evaluate(slides_run.path, out, on=strangers / "tiles")
    with pytest.raises(ModelError, match="trained on drawn bags of pixels, and --on"):
        evaluate(pixels_run.path, out, **words)
    for given in ({"on": words["on"]}, {"cohort": words["cohort"]}):
        with pytest.raises(ConfigError, match="--on"):
            evaluate(slides_run.path, out, **given)
    table = pd.read_csv(words["cohort"]).assign(label=None)
    table.to_csv(tmp_path / "bare.csv", index=False)
    with pytest.raises(CohortError, match="use 'eosin predict'"):
        evaluate(slides_run.path, out, **words | {"cohort": tmp_path / "bare.csv"})


def test_tiles_that_are_gone_or_cut_anew_are_told(tiles_run, tmp_path):
    run = copy_run(tiles_run, tmp_path / "run")
    renote(run, tiles=tmp_path / "gone")
    with pytest.raises(ManifestError, match=r"trained on.* gone; give .* by --on"):
        evaluate(run)
    run = copy_run(tiles_run, tmp_path / "anew", training_data={"tiles_sha256": "0"})
    with pytest.raises(ManifestError, match="no longer those"):
        evaluate(run)
    with pytest.raises(ModelError, match=r"card\.json"):
        evaluate(tmp_path)


def test_labels_and_models_that_changed_are_noticed(tiles_run, tmp_path):
    run, tiles = copy_run(tiles_run, tmp_path / "run"), tmp_path / "tiles"
    shutil.copytree(tiles_run.data, tiles)
    renote(run, tiles=tiles)
    evaluate(run, n_bootstrap=0)
    card = json.loads((run / "card.json").read_text())
    other = card | {"together": card["together"] | {"tile_threshold": 0.999}}
    (run / "card.json").write_text(json.dumps(other))
    with pytest.raises(RunError, match="input model changed"):
        evaluate(run, n_bootstrap=0)
    (run / "card.json").write_text(json.dumps(card))
    slides = pd.read_csv(tiles / "slides.csv", dtype=str)
    slides.loc[0, "label"] = "tumor" if slides["label"][0] == "normal" else "normal"
    slides.to_csv(tiles / "slides.csv", index=False)
    with pytest.raises(RunError, match=r"input slides.csv changed"):
        evaluate(run, n_bootstrap=0)


def test_what_limits_the_numbers_is_told(slides_run, drawn_run, tmp_path):
    """Whom an encoder learnt from, drawn bags, and choices of a fold's own."""
    said = f"{LEARNT} 2 of these 24 patients."
    card = Card.read(slides_run.path)
    folds = [
        replace(card.folds[0], cautions=("Temperature: too few.",)),
        *card.folds[1:],
    ]
    run = copy_run(slides_run, tmp_path / "run")
    replace(
        card, folds=tuple(folds), cautions=(said, "Threshold: of all together.")
    ).write(run)
    told = evaluate(run, n_bootstrap=0).cautions
    assert said in told
    assert "Fold 0, temperature: too few." in told
    # Each patient was called by the own fold.
    assert "Threshold: of all together." not in told
    told = evaluate(drawn_run.path, tmp_path / "drawn", n_bootstrap=0).cautions
    tested = read_run(drawn_run.path).splits.query("split == 'test'")
    counts = tested["id"].nunique(), tested["patient_id"].nunique()
    words = "the {} that were held out are of {} patients".format(*counts)
    assert any(words in text for text in told)


def test_damaged_tiles_of_an_external_cohort_are_counted(
    tiles_run, strangers, tmp_path, damage
):
    ids = open_tile_folder(strangers / "tiles").tiles["tile_id"].iloc[[1, 5]]
    damage(ids)
    words = {"on": strangers / "tiles", "n_bootstrap": 0}
    told = evaluate(tiles_run.path, tmp_path / "out", **words).cautions
    assert "2 damaged tiles could not be scored." in told
    assert "slides that were made by a computer" in told[0]
    table, _ = read_predictions(tmp_path / "out" / "predictions.parquet")
    assert not set(ids) & set(table["id"])
