import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag
from eosin.core import Progress, Task
from eosin.workflows.mil_cohort import MILCohort
from eosin.workflows.mil_fitting import (
    fit_model,
    keep_fitted,
    predict_rows,
    read_fitted,
)
from eosin.workflows.train_mil import MILStudyConfig

CONFIG = MILStudyConfig(
    classes=("a", "b"), widths=(8,), epochs=4, columns=("age",), batch=2
)
SPLIT = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 4)


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    bags = [
        Bag(
            bag_id=f"B{i}",
            features=rng.normal(size=(1 + 2 * i, 3)) + i % 2,
            label=i % 2,
            patient_id=f"P{i}",
            clinical={"age": f"{40 + i}" if i < 8 else "1000"},
        )
        for i in range(12)
    ]
    return MILCohort(bags, pd.DataFrame(), CONFIG.classes, {"age": "number"})


def fit(cohort, state, progress=None, seed=0):
    return fit_model(
        cohort, CONFIG, SPLIT, seed=seed, state=state, progress=progress or Progress()
    )


def test_scaling_and_columns_come_from_the_training_bags_alone(cohort, tmp_path):
    model, _ = fit(cohort, tmp_path)
    (column,) = model.clinical.columns
    # Of 40 to 45.
    assert (column.mean, column.median) == (42.5, 42.5)
    whole = np.concatenate([bag.read() for bag in cohort.bags[:6]])
    np.testing.assert_allclose(model.scaling.mean, whole.mean(axis=0), rtol=1e-5)


def test_seeds_give_other_models(cohort, tmp_path):
    one, _ = fit(cohort, tmp_path / "0", seed=0)
    other, _ = fit(cohort, tmp_path / "1", seed=1)
    again, _ = fit(cohort, tmp_path / "2", seed=1)
    rows = np.array([8, 9])
    logits = [
        [p.logits[0] for p in predict_rows(model, cohort, rows)]
        for model in (one, other, again)
    ]
    assert logits[1] == logits[2] != logits[0]


class Stopping(Progress):
    """Is interrupted after some epochs."""

    def __init__(self, n):
        self.left = n

    def task(self, name, total):
        return StoppingTask(self)


class StoppingTask(Task):
    def __init__(self, owner):
        self.owner = owner

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def advance(self, n=1, note=""):
        self.owner.left -= bool(note)
        if note and self.owner.left == 0:
            raise KeyboardInterrupt


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(cohort, tmp_path):
    whole, unbroken = fit(cohort, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, tmp_path / "cut", Stopping(2))
    rest = Stopping(10)
    model, result = fit(cohort, tmp_path / "cut", rest)
    # Two of four epochs were left to do.
    assert rest.left == 8
    assert [e.loss for e in result.epochs] == [e.loss for e in unbroken.epochs]
    for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_kept_is_read_again(cohort, tmp_path):
    assert read_fitted(tmp_path) is None
    model, result = fit(cohort, tmp_path)
    predictions = predict_rows(model, cohort, np.array([8, 9, 10]))
    keep_fitted(tmp_path, predictions, result.history)
    found = read_fitted(tmp_path)
    np.testing.assert_allclose(found.logits, [p.logits for p in predictions])
    assert len(found.history) == len(result.epochs)
    # What only an interrupted training needs is gone.
    assert not (tmp_path / "training.npz").exists()
