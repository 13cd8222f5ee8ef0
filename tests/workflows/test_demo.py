import pandas as pd

from eosin.annotations import read_annotations
from eosin.workflows import demo
from eosin.workflows.demo import make_phantom_cohort, run_demo
from eosin.workflows.train_tiles import TrainConfig


def test_the_made_cohort_is_balanced_and_annotated(cohort):
    table = pd.read_csv(cohort.table)
    assert table["label"].value_counts().to_dict() == {"tumor": 5, "normal": 5}
    for row in table.itertuples():
        assert isinstance(row.annotation, str) == (row.label == "tumor")
    annotation = cohort.table.parent / table["annotation"][0]
    regions = read_annotations(annotation).regions
    assert {region.class_name for region in regions} == {"Tumor"}


def test_slides_that_are_there_are_left(cohort, monkeypatch):
    monkeypatch.setattr(demo, "make_phantom", lambda **_: 1 / 0)
    again = make_phantom_cohort(
        cohort.table.parent, n_patients=10, n_new=2, size_px=(1024, 896)
    )
    assert again == cohort


def test_the_whole_job_runs_and_says_where_to_look(tmp_path, monkeypatch):
    small = {"n_patients": 8, "n_new": 1, "size_px": (1024, 896)}
    monkeypatch.setattr(
        demo,
        "make_phantom_cohort",
        lambda folder, **options: make_phantom_cohort(folder, **options, **small),
    )

    def train_briefly(**options):
        return TrainConfig(**options | {"tune_epochs": 1})

    monkeypatch.setattr(demo, "TrainConfig", train_briefly)
    result = run_demo(tmp_path / "demo")
    assert result.report.exists()
    assert list(result.predictions.glob("*.overlay.jpg"))
    assert len(list(result.overviews.glob("*.jpg"))) == 8
