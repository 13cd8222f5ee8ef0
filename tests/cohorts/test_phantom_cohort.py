import pandas as pd

from eosin.annotations import read_annotations
from eosin.cohorts import make_phantom_cohort, phantom_cohort


def test_the_made_cohort_is_balanced_and_annotated(cohort):
    table = pd.read_csv(cohort.table)
    assert table["label"].value_counts().to_dict() == {"tumor": 5, "normal": 5}
    for row in table.itertuples():
        assert isinstance(row.annotation, str) == (row.label == "tumor")
    annotation = cohort.table.parent / table["annotation"][0]
    regions = read_annotations(annotation).regions
    assert {region.class_name for region in regions} == {"Tumor"}


def test_slides_that_are_there_are_left(cohort, monkeypatch):
    monkeypatch.setattr(phantom_cohort, "make_phantom", lambda **_: 1 / 0)
    again = make_phantom_cohort(
        cohort.table.parent, n_patients=10, n_new=2, size_px=(1024, 896)
    )
    assert again == cohort
