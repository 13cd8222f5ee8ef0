import json

import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag
from eosin.core import CohortError, ConfigError, Progress
from eosin.workflows import mil_choices as module
from eosin.workflows.mil_choices import choose_settings, divide_inner, list_settings
from eosin.workflows.mil_cohort import MILCohort, divide_patients
from eosin.workflows.train_mil import MILStudyConfig


def make_config(*choose, **options):
    return MILStudyConfig(
        classes=("a", "b"),
        folds=2,
        inner_folds=options.pop("inner_folds", 2),
        widths=(8,),
        dropout=0.0,
        epochs=options.pop("epochs", 10),
        learning_rate=1e-2,
        choose=choose,
        **options,
    )


@pytest.fixture(scope="module")
def cohort():
    """One of 30 instances is a witness, which a mean drowns in noise."""
    rng = np.random.default_rng(1)
    bags, rows = [], []
    for i in range(24):
        features = rng.normal(size=(30, 3))
        features[rng.integers(30), 0] += 9 * (i % 2)
        bags.append(
            Bag(bag_id=f"B{i}", features=features, label=i % 2, patient_id=f"P{i}")
        )
        rows.append((f"B{i}", f"P{i}", "ab"[i % 2]))
    table = pd.DataFrame(rows, columns=["slide_id", "patient_id", "label"])
    return MILCohort(bags, table, ("a", "b"), {})


def test_every_combination_is_listed_in_order():
    config = make_config("aggregator=max,mean", "lr=1e-3,1e-2", "widths=8,16+4")
    found = list_settings(config)
    assert [(c.aggregator, c.learning_rate, c.widths) for c in found][:3] == [
        ("max", 1e-3, (8,)),
        ("max", 1e-3, (16, 4)),
        ("max", 1e-2, (8,)),
    ]
    assert len(found) == 8
    # All else stays as it was, and nothing is left to choose.
    assert {(c.folds, c.epochs, c.choose) for c in found} == {(2, 10, ())}


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (("folds=2,3",), "takes field=value,value with one of aggregator"),
        (("aggregator",), "got 'aggregator'"),
        (("lr=1,2", "learning_rate=1,2"), "names learning_rate twice"),
        (("aggregator=max,max",), "two values or more"),
        (("epochs=1,x",), "epochs must be int, got 'x'"),
        (("dropout=0.1,maybe",), "dropout must be float"),
    ],
)
def test_what_cannot_be_chosen_is_refused_at_once(choose, message):
    with pytest.raises(ConfigError, match=message):
        make_config(*choose)


def test_a_fold_chooses_the_method_that_finds_the_witness(cohort, tmp_path):
    config = make_config("aggregator=mean,max")
    split = divide_patients(cohort, config)[0]
    told = []
    progress = Progress()
    progress.say = told.append
    found = choose_settings(
        cohort, config, split, fold=0, state=tmp_path, progress=progress
    )
    assert found.config.aggregator == "max"
    assert dict(found.settings) == {"aggregator": "max"}
    table = found.table.set_index("aggregator")
    assert table["is_chosen"].to_dict() == {"mean": False, "max": True}
    assert table.loc["max", "log_loss"] < table.loc["mean", "log_loss"]
    assert table.loc["max", "roc_auc"] > 0.9
    # Every patient that is not tested is held out once.
    assert set(table["n"]) == {(split != "test").sum()}
    assert told == ["fold 0: chose aggregator max"]


def test_the_choice_never_sees_a_fold_s_test_patients(cohort, tmp_path, monkeypatch):
    config = make_config("aggregator=mean,max", epochs=1)
    fit, predict, seen = module.fit_model, module.predict_rows, set()

    def spy_fit(cohort, config, split, **options):
        seen.update(cohort.patients[split != ""])
        return fit(cohort, config, split, **options)

    def spy_predict(model, cohort, rows):
        seen.update(cohort.patients[rows])
        return predict(model, cohort, rows)

    monkeypatch.setattr(module, "fit_model", spy_fit)
    monkeypatch.setattr(module, "predict_rows", spy_predict)
    for fold, split in enumerate(divide_patients(cohort, config)):
        seen.clear()
        state = tmp_path / str(fold)
        choose_settings(
            cohort, config, split, fold=fold, state=state, progress=Progress()
        )
        assert seen == set(cohort.patients[split != "test"])


def test_labels_of_test_patients_change_no_choice(cohort, tmp_path):
    config = make_config("aggregator=mean,max", epochs=2)
    split = divide_patients(cohort, config)[0]
    bags = [
        Bag(
            bag_id=bag.bag_id,
            features=bag.read() + (9 if own == "test" else 0),
            label=1 - bag.label if own == "test" else bag.label,
            patient_id=bag.patient_id,
        )
        for bag, own in zip(cohort.bags, split, strict=True)
    ]
    other = MILCohort(bags, cohort.table, ("a", "b"), {})
    tables = [
        choose_settings(
            own,
            config,
            split,
            fold=0,
            state=tmp_path / name,
            progress=Progress(),
        ).table
        for name, own in (("one", cohort), ("other", other))
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_what_is_finished_is_not_done_again(cohort, tmp_path, monkeypatch):
    config = make_config("aggregator=mean,max", epochs=1)
    split = divide_patients(cohort, config)[0]
    words = {"fold": 0, "progress": Progress()}
    whole = choose_settings(cohort, config, split, state=tmp_path / "a", **words)
    fit, calls = module.fit_model, []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(module, "fit_model", stop)
    with pytest.raises(KeyboardInterrupt):
        choose_settings(cohort, config, split, state=tmp_path / "b", **words)
    found = choose_settings(cohort, config, split, state=tmp_path / "b", **words)
    # Two settings in two inner folds, one of which was cut.
    assert len(calls) == 5
    pd.testing.assert_frame_equal(found.table, whole.table, check_exact=True)
    choose_settings(cohort, config, split, state=tmp_path / "b", **words)
    assert len(calls) == 5
    assert len(json.loads((tmp_path / "b" / "choice.json").read_text())) == 2


def test_nothing_to_choose_chooses_the_study_s_own(cohort, tmp_path):
    config = make_config()
    found = choose_settings(
        cohort,
        config,
        divide_patients(cohort, config)[0],
        fold=0,
        state=tmp_path,
        progress=Progress(),
    )
    assert found.config is config
    assert (dict(found.settings), len(found.table)) == ({}, 0)
    assert not any(tmp_path.iterdir())


def test_too_few_patients_for_inner_folds_are_told(cohort):
    config = make_config("aggregator=mean,max", inner_folds=9)
    message = "to choose in fold 1 .*inner_folds=9.*: 9 folds need 9 .* has 6"
    with pytest.raises(CohortError, match=message):
        divide_inner(cohort, config, divide_patients(cohort, config)[1], 1)
