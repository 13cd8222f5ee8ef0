from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag
from eosin.core import ModelError, Progress
from eosin.inference import BagHead
from eosin.settings import BagTraining
from eosin.studies import bag_learner
from eosin.studies.bag_learner import BagLearner
from eosin.studies.study import BagStudy

SETTINGS = BagTraining(
    classes=("a", "b"), widths=(8,), epochs=2, columns=("age",), batch=2
)
SIDE = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 4)


@pytest.fixture(scope="module")
def study():
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
    return BagStudy(
        unit="slide",
        class_names=("a", "b"),
        splits=pd.DataFrame({"fold": [0]}),
        bags=bags,
        table=pd.DataFrame(),
        sides=[SIDE],
        kinds={"age": "number"},
    )


def make_learner(study, out, settings=SETTINGS):
    return BagLearner(study, settings, out, Progress())


def test_scaling_and_columns_come_from_the_training_bags_alone(study, tmp_path):
    model, _ = make_learner(study, tmp_path).train(SIDE, SETTINGS, 0, tmp_path)
    (column,) = model.clinical.columns
    # Of 40 to 45.
    assert (column.mean, column.median) == (42.5, 42.5)
    whole = np.concatenate([bag.read() for bag in study.bags[:6]])
    np.testing.assert_allclose(model.scaling.mean, whole.mean(axis=0), rtol=1e-5)


def test_seeds_give_other_models_and_one_seed_the_same(study, tmp_path):
    logits = []
    for number, seed in enumerate((0, 1, 1)):
        fitted = make_learner(study, tmp_path / str(number)).fit(
            0, seed, tmp_path / "s"
        )
        logits.append(fitted.held_out["logit_0"].tolist())
    assert logits[1] == logits[2] != logits[0]
    # What only an interrupted training needs is gone.
    assert not list((tmp_path / "s").iterdir())


def test_an_export_that_differs_stops_the_run(study, tmp_path, monkeypatch):
    class Shifted(BagHead):
        def predict(self, bag, **options):
            found = super().predict(bag, **options)
            return replace(found, logits=found.logits + 0.01)

    monkeypatch.setattr(bag_learner, "BagHead", Shifted)
    with pytest.raises(ModelError, match=r"0\.01"):
        make_learner(study, tmp_path).fit(0, 0, tmp_path / "state")
