import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag
from eosin.runs.run import SPLIT_COLUMNS
from eosin.settings import BagTraining
from eosin.studies.labelled_bags import LabelledBags
from eosin.studies.study import study_bags


@pytest.fixture(scope="module")
def patients():
    """Eight patients of two slides, each a bag."""
    bags = [
        Bag(
            bag_id=f"P{i}",
            features=np.full((3, 2), i, np.float32),
            label=i % 2,
            patient_id=f"P{i}",
            slide_ids=(f"S{i}a", f"S{i}b"),
            clinical={"age": str(50 + i)},
        )
        for i in range(8)
    ]
    table = pd.DataFrame(
        {
            "slide_id": [name for bag in bags for name in bag.slide_ids],
            "patient_id": np.repeat([bag.bag_id for bag in bags], 2),
            "label": np.repeat(["n", "t"] * 4, 2),
            "age": np.repeat([bag.clinical["age"] for bag in bags], 2),
        }
    )
    return LabelledBags(
        bags=bags, table=table, class_names=("n", "t"), cautions=("One was left out.",)
    )


def test_splits_have_a_row_for_each_slide_of_a_bag(patients):
    settings = BagTraining(folds=2, unit="patient", columns=("age",))
    study = study_bags(patients, settings, where="s.csv")
    assert (study.unit, study.n_folds) == ("patient", 2)
    assert tuple(study.splits) == SPLIT_COLUMNS
    assert len(study.splits) == 2 * 16
    for fold, rows in study.splits.groupby("fold"):
        split_of = dict(zip(study.patients, study.sides[fold], strict=True))
        assert (rows["split"] == rows["patient_id"].map(split_of)).all()
        assert (rows["slide_id"].str[1] == rows["patient_id"].str[1]).all()
    assert [bag.label for bag in study.take(np.arange(8))] == [0, 1] * 4
    assert study.cautions == ("One was left out.",)
    assert study.kinds == {"age": "number"}
    # Each patient counts once.
    assert study.list_clinical(np.array([0, 1, 0])) == [{"age": "50"}, {"age": "51"}]
