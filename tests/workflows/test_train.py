"""Training as a journey: the same claims for every kind of model."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import (
    FeatureInfo,
    find_feature_files,
    read_bag_table,
    read_slide_bag,
    write_features,
)
from eosin.core import (
    CohortError,
    ConfigError,
    ManifestError,
    ModelError,
    Progress,
    RunError,
)
from eosin.evaluation import (
    choose_threshold,
    compute_roc_auc,
    fit_temperature,
    labels_of,
)
from eosin.inference import open_session
from eosin.models import load_classifier, load_mil_model, predict_bags
from eosin.runs.card import Card
from eosin.runs.run import SPLIT_COLUMNS, find_logits, read_run
from eosin.settings import BagTraining
from eosin.tiles import open_tile_folder, read_manifest, write_manifest
from eosin.workflows.train import train


class Stopping(Progress):
    """Interrupts the work when it says some words."""

    def __init__(self, words):
        self.words = words

    def say(self, text):
        if self.words in text:
            raise KeyboardInterrupt


class Silent(Progress):
    """Nothing is to be done, and so nothing is to be said."""

    def task(self, name, total):
        raise AssertionError(name)

    def say(self, text):
        raise AssertionError(text)


def find_auc(path, *, unit="id"):
    """The ROC AUC of what each fold held out, by scikit-learn's definition."""
    run = read_run(path)
    held = run.held_out[run.held_out["split"] == "test"]
    held = held[held["label"].notna()]
    values = np.concatenate(
        [
            run.card.target.activate(
                find_logits(rows), run.card.folds[fold].temperature
            )
            for fold, rows in held.groupby("fold")
        ]
    )
    return compute_roc_auc(labels_of(held.sort_values("fold", kind="stable")), values)


def test_a_run_holds_all_that_later_steps_need(any_run):
    run = read_run(any_run.path)
    for name in ("history.png", *run.card.list_model_files()):
        assert (run.path / name).stat().st_size > 0
    assert run.card.class_names == ("normal", "tumor")
    assert (run.card.sees.mpp, run.card.sees.tile_px) == (1.0, 64)
    assert tuple(run.splits) == SPLIT_COLUMNS
    history = pd.read_csv(run.path / "history.csv")
    n_seeds = getattr(any_run.settings, "n_seeds", 1)
    assert len(history.groupby(["fold", "seed"])) == len(run.card.folds) * n_seeds
    stems = [run.path / name.removesuffix(".onnx") for name in run.card.models]
    assert all(stem.with_name(f"{stem.name}.keras").exists() for stem in stems)
    if run.card.learner == "tiles":
        assert {"callers", "threads", "batch"} < run.notes["model_calls"].keys()
    # A copy of the tiles is not kept.
    assert not list(run.path.rglob("*.npy"))


def test_no_patient_is_on_two_sides_and_folds_hold_each_out_once(any_run):
    run = read_run(any_run.path)
    for _, fold in run.splits.groupby("fold"):
        assert set(fold["split"]) == {"train", "val", "test"}
        pairs = fold[["patient_id", "split"]].drop_duplicates()
        assert not pairs["patient_id"].duplicated().any()
    tested = run.splits[run.splits["split"] == "test"]
    if run.card.is_cross_validated:
        assert sorted(tested["slide_id"]) == sorted(run.splits["slide_id"].unique())


def test_what_is_not_trained_on_is_scored_once_by_each_fold(any_run):
    run = read_run(any_run.path)
    for fold, rows in run.splits.groupby("fold"):
        held = run.held_out[run.held_out["fold"] == fold]
        if run.card.unit == "tile":
            # Every tile of the slides, whether it has a label or not.
            tiles = open_tile_folder(any_run.data).tiles
            split_of = rows.set_index("slide_id")["split"]
            split_of = split_of[split_of != "train"]
            tiles = tiles.assign(split=tiles["slide_id"].map(split_of))
            expected = tiles[tiles["split"].notna()].set_index("tile_id")["split"]
            assert held["label"].isna().any()
        else:
            units = rows[rows["split"] != "train"].drop_duplicates("id")
            expected = units.set_index("id")["split"]
            assert held["label"].notna().all()
        assert held.set_index("id")["split"].to_dict() == expected.to_dict()


def test_choices_are_made_on_validation_alone(any_run):
    run = read_run(any_run.path)
    target, val = run.card.target, run.held_out[run.held_out["split"] == "val"]
    parts = [(card, val[val["fold"] == k]) for k, card in enumerate(run.card.folds)]
    for card, rows in parts:
        labelled = rows[rows["label"].notna()]
        fit = fit_temperature(find_logits(labelled), labels_of(labelled))
        assert card.temperature == fit.temperature
        values = target.activate(find_logits(labelled), fit.temperature)
        chosen = choose_threshold(
            labels_of(labelled), values, target=target, rule="youden"
        )
        found = card.tile_threshold if run.card.unit == "tile" else card.threshold
        assert found == pytest.approx(chosen.threshold, rel=1e-6)
    labelled = val[val["label"].notna()]
    fit = fit_temperature(find_logits(labelled), labels_of(labelled))
    assert run.card.together.temperature == fit.temperature


def test_the_kept_logits_are_those_of_the_models(any_run):
    run = read_run(any_run.path)
    held = run.held_out[run.held_out["fold"] == 0].head(4)
    stems = [run.path / name.removesuffix(".onnx") for name in run.card.folds[0].models]
    if run.card.learner == "tiles":
        folder = open_tile_folder(any_run.data)
        tiles = folder.tiles.set_index("tile_id").loc[held["id"]].reset_index()
        with folder.open_reader(tiles) as reader:
            pixels = reader.read(np.arange(4))
        exported = open_session(stems[0].with_suffix(".onnx")).run(pixels)["logits"]
        trained = load_classifier(stems[0].with_suffix(".keras")).predict(
            pixels.astype(np.float32), verbose=0
        )
        np.testing.assert_allclose(exported, trained, atol=1e-4)
        np.testing.assert_allclose(exported, find_logits(held), atol=1e-4)
    elif run.card.unit == "slide" and any_run.cohort:
        files = find_feature_files(any_run.data)
        bags = [read_slide_bag(files[name]) for name in held["id"]]
        model = load_mil_model(stems[0].with_suffix(".keras"))
        trained = [p.logits for p in predict_bags(model, bags)]
        np.testing.assert_allclose(trained, find_logits(held), atol=1e-5)


def test_a_finished_run_is_reused_and_other_settings_are_named(any_run):
    again = any_run.train(any_run.path, progress=Silent())
    assert again.card == Card.read(any_run.path)
    assert len(again.validation_aucs) == len(again.card.folds)
    with pytest.raises(RunError, match=r"seed was 0, is 7"):
        any_run.train(any_run.path, seed=7)


STEPS = {"fine_tune": "progressive", "epochs": 1, "tune_epochs": 1, "cached_views": 1}
CHOOSING = {"choose": ("aggregator=mean,max",), "inner_folds": 2, "epochs": 2}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("tiles", {}, "fine-tune epoch 2"),
        ("tiles", STEPS, "fine-tune-2 epoch"),
        ("folds", {}, "Fold 2"),
        ("patients", {"epochs": 3}, "fold 0, seed 1"),
        ("slides", CHOOSING, "fold 1, seed 0"),
        ("pixels", {"epochs": 2, "n_seeds": 1}, "fold 0, seed 0"),
    ],
    ids=["tiles", "steps", "folds", "seeds", "choosing", "pixels"],
)
def test_a_killed_training_goes_on_and_ends_with_the_same_models(
    request, tmp_path, kind, changes, words
):
    made = request.getfixturevalue(f"{kind}_run")
    whole = made.path
    if changes:
        whole = tmp_path / "whole"
        made.train(whole, **changes)
    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        made.train(out, progress=Stopping(words), **changes)
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "card.json").exists()
    made.train(out, **changes)
    first, second = read_run(whole), read_run(out)
    pd.testing.assert_frame_equal(first.held_out, second.held_out, rtol=1e-5)
    pd.testing.assert_frame_equal(first.splits, second.splits)
    assert first.card.folds[0].models == second.card.folds[0].models
    histories = [
        pd.read_csv(path / "history.csv").drop(columns="seconds", errors="ignore")
        for path in (whole, out)
    ]
    pd.testing.assert_frame_equal(*histories, rtol=1e-5)
    if "choose" in changes:
        tables = [pd.read_csv(path / "choices.csv") for path in (whole, out)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "least"),
    [("tiles", 0.9), ("folds", 0.7), ("slides", 0.9), ("patients", 0.9),
     ("encoded", 0.7), ("drawn", 0.7), ("pixels", 0.9)],
)  # fmt: skip
def test_planted_signals_are_found_on_patients_never_seen(request, kind, least):
    # Folds, encoded slides and drawn bags are of an encoder that nobody trained, on ten
    # patients: what it finds on the few that are held out goes up and down by the seed.
    assert find_auc(request.getfixturevalue(f"{kind}_run").path) > least


@pytest.mark.parametrize("kind", ["slides", "pixels"])
def test_attention_points_at_the_witnesses(request, kind, mil_study):
    made, hits = request.getfixturevalue(f"{kind}_run"), []
    if kind == "pixels":
        bags, _ = read_bag_table(made.data / "bags.parquet")
        rows = {
            name: np.flatnonzero(own["is_witness"])
            for name, own in bags.groupby("bag_id")
            if own["label"].iloc[0]
        }
    else:
        tumours = pd.read_csv(made.cohort).query("label == 'tumor'")["slide_id"]
        rows = dict.fromkeys(tumours, (3, 11, 20))
    paths = list((made.path / "attention").glob("*.csv"))
    for path in paths:
        best = pd.read_csv(path)
        assert best["attention"].sum() == pytest.approx(1, abs=1e-3)
        if path.stem in rows:
            hits.append(best["instance"].iloc[0] in rows[path.stem])
    # By chance it would be half of them, or 3 of 20.
    assert np.mean(hits) > 0.75
    tested = read_run(made.path).splits.query("split == 'test'")
    assert {path.stem for path in paths} == set(tested["id"])


def relabel(made, path, labels, **columns):
    """Write a slide table with other labels and columns, by patient number."""
    table = pd.read_csv(made.cohort)
    number = table["patient_id"].str[1:].astype(int)
    columns = {name: number.map(dict(enumerate(own))) for name, own in columns.items()}
    label = number.map(dict(enumerate(np.where(labels, "tumor", "normal"))))
    table.assign(label=label, **columns).to_csv(path, index=False)
    return replace(made, cohort=path)


def test_shuffled_labels_teach_nothing(slides_run, patients_run, tmp_path):
    rng, found = np.random.default_rng(4), []
    for repeat, made in enumerate((slides_run, patients_run)):
        labels, ages = rng.permutation(np.arange(12) % 2), rng.integers(30, 80, 12)
        other = relabel(made, tmp_path / f"{repeat}.csv", labels, age=ages)
        other.train(tmp_path / f"{repeat}", epochs=5, folds=2, n_seeds=1)
        found.append(find_auc(tmp_path / f"{repeat}"))
    assert 0.1 < np.mean(found) < 0.85


def test_shuffled_labels_of_tiles_teach_nothing(tiles_run, tmp_path):
    tiles = tmp_path / "tiles"
    shutil.copytree(tiles_run.data, tiles, ignore=shutil.ignore_patterns("cache"))
    table, info = read_manifest(tiles / "tiles.parquet")
    is_labelled = table["label"].notna().to_numpy()
    labels = table["label"].to_numpy(copy=True)
    labels[is_labelled] = np.random.default_rng(0).permutation(labels[is_labelled])
    shuffled = table.assign(label=pd.array(labels, "Int8"))
    write_manifest(tiles / "tiles.parquet", shuffled, info)
    replace(tiles_run, data=tiles).train(tmp_path / "run", tune_epochs=1)
    assert 0.25 < find_auc(tmp_path / "run") < 0.75


def test_a_clinical_column_alone_is_learnt_though_cells_are_missing(
    patients_run, tmp_path
):
    # Labels follow the age, and have nothing to do with the features.
    labels = np.arange(12) // 2 % 2
    ages = [f"{50 + 20 * label + i % 3}" for i, label in enumerate(labels)]
    ages[5] = ages[8] = None
    made = relabel(patients_run, tmp_path / "s.csv", labels, age=ages)
    made.train(tmp_path / "run", n_seeds=1)
    assert find_auc(tmp_path / "run") > 0.9
    run = read_run(tmp_path / "run")
    assert run.card.columns == ("age", "sex")
    for fold, card in enumerate(run.card.folds):
        # What stands for a missing cell is of those that trained, each once.
        rows = run.splits.query(f"fold == {fold} and split == 'train'")
        known = [ages[int(p[1:])] for p in rows["patient_id"].unique()]
        age, sex = card.clinical
        assert age["median"] == np.median([float(own) for own in known if own])
        assert (age["kind"], sex["levels"]) == ("number", ["f", "m"])


def write_slides(folder, labels, *, n=6, dimension=4, shift=9.0):
    """Write features of slides, of which the first two instances tell the class."""
    rng, rows = np.random.default_rng(0), []
    for i, label in enumerate(labels):
        features = rng.normal(size=(n, dimension)).astype(np.float32)
        if label:
            features[:2, label] += shift
        info = FeatureInfo(slide_id=f"S{i}", encoder="e", tile_px=8, mpp=1, size_px0=8)
        places = np.arange(2 * n).reshape(n, 2)
        write_features(folder / "f" / f"S{i}.h5", features, places, info)
        rows.append((f"S{i}", f"P{i}", "abc"[label]))
    table = pd.DataFrame(rows, columns=["slide_id", "patient_id", "label"])
    table.to_csv(folder / "s.csv", index=False)
    return folder / "f", folder / "s.csv"


BAGS = BagTraining(
    classes=("a", "b"), folds=2, widths=(8,), dropout=0.0, batch=2, learning_rate=1e-2
)
THREE = {"classes": ("a", "b", "c"), "aggregator": "mean", "class_weights": (1, 2, 2)}


@pytest.mark.parametrize(
    ("labels", "n", "changes"),
    [
        ([0, 1, 2] * 6, 6, THREE),
        ([0, 1] * 12, 1, {}),
        ([0, 1] * 8, 6, {"precision": "mixed_bfloat16"}),
    ],
    ids=["three classes", "one instance", "bfloat16"],
)
def test_bags_of_other_kinds_are_learnt(tmp_path, labels, n, changes):
    features, cohort = write_slides(tmp_path, labels, n=n)
    out = tmp_path / "run"
    card = train(features, out, replace(BAGS, **changes, epochs=20), cohort=cohort).card
    assert find_auc(out) > 0.9
    assert (card.together.threshold is None) == (len(card.class_names) > 2)
    model = load_mil_model(out / f"{card.models[0]}.keras")
    assert model.get_config()["precision"] == changes.get("precision", "float32")
    # What is learnt and what is told stay as they were.
    assert all(w.dtype == "float32" for w in model.trainable_weights)


def test_the_last_block_and_more_are_trained_step_by_step(tiles_run, tmp_path):
    before = set(tiles_run.data.glob("cache/smallcnn-*/activations.npy"))
    out = tmp_path / "run"
    words = {**STEPS, "cached_views": 2, "stain_jitter": 0.1, "snapshots": 2}
    tiles_run.train(
        out, **words, tune_learning_rate=1e-3, schedule="constant", unfreeze_factor=0.5
    )
    history = pd.read_csv(out / "history.csv")
    stages = ["head", "fine_tune", "fine_tune_2", "fine_tune_3"]
    assert list(history["stage"]) == stages
    np.testing.assert_allclose(history["learning_rate"][1:], [1e-3, 5e-4, 2.5e-4])
    # What is below the last block was computed once, in both views.
    (made,) = set(tiles_run.data.glob("cache/smallcnn-*/activations.npy")) - before
    assert np.load(made, mmap_mode="r").shape[0] == 2
    snapshots = pd.read_csv(out / "snapshots" / "snapshots.csv")
    assert 1 <= len(snapshots) <= 2
    assert snapshots["val_roc_auc"].max() == pytest.approx(history["val_roc_auc"].max())


def test_recipes_and_snapshots_go_with_every_fold(folds_run, tiles_run, tmp_path):
    assert not (tiles_run.path / "snapshots").exists()
    out = tmp_path / "run"
    recipe = "mobilenetv2-baseline"
    card = folds_run.train(out, recipe=recipe, epochs=2, snapshots=1, views=2).card
    assert card.recipe.startswith(f"{recipe}, but for encoder = smallcnn (")
    assert card.views == 2
    tiles = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    for fold in ("fold_0", "fold_1"):
        (kept,) = (out / fold / "snapshots").glob("*.onnx")
        # The best one is the model of the fold.
        logits = [open_session(p).run(tiles)["logits"]
                  for p in (kept, out / fold / "model.onnx")]  # fmt: skip
        np.testing.assert_allclose(*logits, atol=1e-5)


def test_weight_on_a_class_makes_it_more_probable(folds_run, tmp_path):
    means = []
    for weight in (1.0, 5.0):
        out = tmp_path / str(weight)
        folds_run.train(out, balance="none", class_weights=(1.0, weight), folds=1)
        means.append(read_run(out).held_out["logit_0"].mean())
    assert means[1] > means[0]


def test_damaged_tiles_cost_themselves_alone(tiles_run, tmp_path, damage):
    tested = read_run(tiles_run.path).held_out.query("split == 'test'")["id"]
    damaged = set(tested.iloc[[1, 5]])
    damage(damaged)
    result = tiles_run.train(tmp_path / "run", tune_epochs=1)
    assert "2 held-out tiles are damaged." in result.warnings
    held = read_run(tmp_path / "run").held_out.query("split == 'test'")
    assert set(held["id"]) == set(tested) - damaged


def test_what_cannot_be_learnt_stops_before_training(
    folds_run, slides_run, tiles_run, tmp_path
):
    features, cohort = write_slides(tmp_path, [0, 1] * 4)
    with h5py.File(features / "S1.h5", "r+") as file:
        file["features"][3, 2] = np.nan
    with pytest.raises(ManifestError, match="of 1 of 8 bags cannot be learnt from"):
        train(features, tmp_path / "a", BAGS, cohort=cohort)
    assert not (tmp_path / "a" / "state").exists()
    with pytest.raises(CohortError, match="9 folds need 9 patients"):
        folds_run.train(tmp_path / "b", folds=9)
    with pytest.raises(ConfigError, match="class_weights must be 2 numbers above 0"):
        folds_run.train(tmp_path / "c", balance="none", class_weights=(1, 2, 3))
    with h5py.File(tmp_path / "wrong.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 3), np.float32)
    with pytest.raises(ModelError, match=r"wrong\.weights\.h5"):
        folds_run.train(tmp_path / "d", weights=str(tmp_path / "wrong.weights.h5"))
    tiles, info = read_manifest(tiles_run.data / "tiles.parquet")
    tiles["label"] = tiles["label"].where(tiles["label"] == 0)
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles, info)
    shutil.copy(tiles_run.data / "slides.csv", tmp_path / "tiles")
    with pytest.raises(ConfigError, match="train must hold tiles of every class"):
        train(tmp_path / "tiles", tmp_path / "e", tiles_run.settings)


def test_other_data_are_another_run(slides_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(slides_run.path, out)
    table = pd.read_csv(slides_run.cohort)
    table.assign(age=1).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(RunError, match="input cohort changed"):
        replace(slides_run, cohort=tmp_path / "s.csv").train(out)
    features = tmp_path / "features"
    shutil.copytree(slides_run.data, features)
    with h5py.File(features / "M0.h5", "r+") as file:
        file["features"][0, 0] = 7
    with pytest.raises(RunError, match="input features changed"):
        replace(slides_run, data=features).train(out)
