from eosin.cohorts import make_phantom_cohort
from eosin.settings import TileTraining
from eosin.workflows import demo


def test_the_whole_job_runs_and_says_where_to_look(tmp_path, monkeypatch):
    small = {"n_patients": 8, "n_new": 1, "size_px": (1024, 896)}
    monkeypatch.setattr(
        demo,
        "make_phantom_cohort",
        lambda folder, **options: make_phantom_cohort(folder, **options, **small),
    )

    def train_briefly(**options):
        return TileTraining(**options | {"tune_epochs": 1})

    monkeypatch.setattr(demo, "TileTraining", train_briefly)
    result = demo.run_demo(tmp_path / "demo")
    assert result.report.exists()
    assert list(result.predictions.glob("*.overlay.jpg"))
    assert len(list(result.overviews.glob("*.jpg"))) == 8
