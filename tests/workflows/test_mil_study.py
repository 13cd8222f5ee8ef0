import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag
from eosin.core import Progress
from eosin.evaluation import (
    compute_probabilities,
    fit_temperature,
    read_predictions,
)
from eosin.workflows.mil_cohort import MILCohort, divide_patients
from eosin.workflows.mil_study import MILStudy
from eosin.workflows.train_mil import MILStudyConfig

CONFIG = MILStudyConfig(
    classes=("a", "b"),
    aggregator="mean",
    folds=3,
    n_seeds=2,
    widths=(4,),
    epochs=3,
    n_bootstrap=0,
)


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    bags, rows = [], []
    for i in range(24):
        features = rng.normal(size=(5, 3)) + (i // 2 % 2)
        bag = Bag(
            bag_id=f"B{i}",
            features=features,
            label=i // 2 % 2,
            patient_id=f"P{i // 2}",
            coords=np.zeros((5, 2), int),
        )
        bags.append(bag)
        rows.append((bag.bag_id, bag.patient_id, "ab"[bag.label]))
    table = pd.DataFrame(rows, columns=["slide_id", "patient_id", "label"])
    return MILCohort(bags, table, ("a", "b"), {}, ("One was left out.",))


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    splits = divide_patients(cohort, CONFIG)
    notes = MILStudy(
        cohort, CONFIG, splits, out, Progress(), card={"more": "facts"}
    ).run()
    return out, splits, notes


def test_every_patient_is_held_out_once_and_every_file_is_there(cohort, study):
    out, splits, notes = study
    tested = np.sum([split == "test" for split in splits], axis=0)
    assert tested.tolist() == [1] * 24
    table, _ = read_predictions(out / "predictions.parquet")
    slides = table[table["level"] == "slide"]
    assert sorted(slides["id"]) == sorted(bag.bag_id for bag in cohort.bags)
    assert "One was left out." in notes["cautions"]
    card = json.loads((out / "card.json").read_text())
    assert (card["format"], card["aggregator"], card["more"]) == (
        "mil 2",
        "mean",
        "facts",
    )
    assert card["models"] == [
        f"fold_{fold}/model_{seed}.keras" for fold in range(3) for seed in range(2)
    ]
    assert all((out / name).exists() for name in card["models"])
    assert not (out / "choices.csv").exists()
    splits = pd.read_csv(out / "splits.csv")
    assert list(splits) == ["fold", "bag_id", "patient_id", "label", "split"]
    assert len(list((out / "attention").glob("*.csv"))) == 24


def test_seeds_are_averaged_by_their_logits(study):
    out, splits, _ = study
    held = pd.read_csv(out / "held_out.csv")
    logits = [
        np.array(json.loads((state / "result.json").read_text())["logits"])
        for state in (out / "state" / "fold_1_0", out / "state" / "fold_1_1")
    ]
    own = held[held["fold"] == 1]
    assert not np.array_equal(*logits)
    np.testing.assert_allclose(own["logit_0"], np.mean(logits, axis=0)[:, 0])
    assert len(own) == (splits[1] != "train").sum()


def test_a_held_out_patient_is_scored_by_what_their_own_fold_chose(cohort, study):
    out, splits, _ = study
    held = pd.read_csv(out / "held_out.csv").assign(row=lambda t: t["bag_id"].str[1:])
    held["row"] = held["row"].astype(int)
    table, _ = read_predictions(out / "predictions.parquet")
    told = table[table["level"] == "slide"].set_index("id")["probability_b"]
    for fold, split in enumerate(splits):
        own = held[held["fold"] == fold]
        val = own[split[own["row"]] == "val"]
        test = own[split[own["row"]] == "test"]
        logits = val[["logit_0"]].to_numpy()
        fit = fit_temperature(logits, cohort.labels[val["row"]])
        expected = compute_probabilities(test[["logit_0"]].to_numpy(), fit.temperature)[
            :, 1
        ]
        np.testing.assert_allclose(told[test["bag_id"]], expected)


def test_the_metrics_are_those_of_the_predictions(study):
    out, _, notes = study
    table, _ = read_predictions(out / "predictions.parquet")
    for level in ("slide", "patient"):
        rows = table[table["level"] == level]
        expected = roc_auc_score(rows["label"].astype(int), rows["probability_b"])
        assert notes["metrics"][level]["roc_auc"]["value"] == pytest.approx(expected)


def test_a_second_study_in_the_folder_trains_nothing(cohort, study):
    out, splits, notes = study

    def fit(*_, **__):
        raise AssertionError

    again = MILStudy(cohort, CONFIG, splits, out, Progress(), fit=fit).run()
    assert again["metrics"] == notes["metrics"]


def test_folds_that_chose_differently_are_named_together(cohort, tmp_path):
    config = dataclasses.replace(
        CONFIG, n_seeds=1, choose=("aggregator=mean,max",), inner_folds=2, epochs=1
    )
    splits = divide_patients(cohort, config)
    MILStudy(cohort, config, splits, tmp_path, Progress()).run()
    table = pd.read_csv(tmp_path / "choices.csv")
    chosen = table.loc[table["is_chosen"], "aggregator"]
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["aggregator"] == ", ".join(dict.fromkeys(chosen))


def test_a_threshold_that_could_not_be_chosen_is_a_caution(cohort, tmp_path):
    config = dataclasses.replace(CONFIG, n_seeds=1, epochs=1)
    splits = [
        np.where((split == "val") & (cohort.labels == 1), "train", split)
        for split in divide_patients(cohort, config)
    ]
    notes = MILStudy(cohort, config, splits, tmp_path, Progress()).run()
    (told,) = [text for text in notes["cautions"] if text.startswith("Threshold")]
    assert "the threshold was set to 0.5, not chosen" in told
