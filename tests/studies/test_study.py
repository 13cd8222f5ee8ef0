import numpy as np
import pandas as pd

from eosin.bags import Bag
from eosin.runs.run import SPLIT_COLUMNS
from eosin.settings import BagTraining
from eosin.studies.labelled_bags import LabelledBags
from eosin.studies.study import study_bags


def test_splits_have_a_row_for_each_slide_of_a_bag():
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
    rows = [(name, bag.bag_id, bag.label, 50) for bag in bags for name in bag.slide_ids]
    columns = ["slide_id", "patient_id", "label", "age"]
    table = pd.DataFrame(rows, columns=columns).replace({"label": {0: "n", 1: "t"}})
    words = {"class_names": ("n", "t"), "cautions": ("One was left out.",)}
    settings = BagTraining(folds=2, unit="patient", columns=("age",))
    labelled = LabelledBags(bags=bags, table=table, **words)
    study = study_bags(labelled, settings, where="s.csv")
    assert (study.unit, study.n_folds) == ("patient", 2)
    assert tuple(study.splits) == SPLIT_COLUMNS
    assert len(study.splits) == 2 * 16
    for fold, rows in study.splits.groupby("fold"):
        split_of = dict(zip(study.patients, study.sides[fold], strict=True))
        assert (rows["split"] == rows["patient_id"].map(split_of)).all()
        assert (rows["slide_id"].str[1] == rows["patient_id"].str[1]).all()
    assert study.cautions == ("One was left out.",)
    assert study.kinds == {"age": "number"}
    # Each patient counts once.
    assert study.list_clinical(np.array([0, 1, 0])) == [{"age": "50"}, {"age": "51"}]
