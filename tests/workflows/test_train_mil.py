import json

import numpy as np
import pandas as pd
import pytest

from eosin.bags import FeatureInfo, write_features
from eosin.core import CohortError, ConfigError, ManifestError, RunError
from eosin.evaluation import read_predictions
from eosin.workflows import train_mil as module
from eosin.workflows.train_mil import MILStudyConfig, train_mil_study

CONFIG = MILStudyConfig(
    classes=("normal", "tumor"),
    folds=3,
    widths=(16,),
    dropout=0.0,
    epochs=40,
    learning_rate=3e-3,
    n_bootstrap=50,
)


def make_study(folder, *, n_patients=18, shift=4.0, seed=0):
    """Two slides per patient; tumour slides hold 4 of 20 shifted instances."""
    rng = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    rows = []
    for patient in range(n_patients):
        label = patient % 2
        for part in "ab":
            features = rng.normal(size=(20, 6)).astype(np.float32)
            features[:4, 0] += shift * label
            slide_id = f"S{patient}{part}"
            info = FeatureInfo(
                slide_id=slide_id, encoder="e", tile_px=64, mpp=1, size_px0=64
            )
            write_features(
                folder / "features" / f"{slide_id}.h5",
                features,
                rng.integers(0, 999, (20, 2)),
                info,
            )
            rows.append(
                {
                    "slide_id": slide_id,
                    "patient_id": f"P{patient}",
                    "label": ("normal", "Tumor")[label],
                }
            )
    pd.DataFrame(rows).to_csv(folder / "slides.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("mil"))


@pytest.fixture(scope="module")
def trained(study):
    return train_mil_study(
        study / "features", study / "slides.csv", CONFIG, study / "run"
    )


def test_a_planted_signal_is_found_by_patient(study, trained):
    assert trained.metrics["slide"]["roc_auc"]["value"] > 0.9
    assert trained.metrics["patient"]["roc_auc"]["n"] == 18
    table, names = read_predictions(study / "run" / "predictions.parquet")
    assert names == ("normal", "tumor")
    slides = table[table["level"] == "slide"]
    # Every slide is held out once.
    assert sorted(slides["slide_id"]) == sorted(
        pd.read_csv(study / "slides.csv")["slide_id"]
    )
    splits = pd.read_csv(study / "run" / "splits.csv")
    for _, fold in splits.groupby("fold"):
        pairs = fold[["patient_id", "split"]].drop_duplicates()
        assert not pairs["patient_id"].duplicated().any()


def test_attention_points_at_the_witnesses(study, trained):
    hits = []
    for path in (study / "run" / "attention").glob("*.csv"):
        if int(path.stem[1:-1]) % 2:
            best = pd.read_csv(path)
            hits.append((best["instance"][:4] < 4).mean())
            assert best["attention"].sum() == pytest.approx(1, abs=1e-3)
            assert {"x_px0", "y_px0"} <= set(best.columns)
    # By chance it would be 4 of 20.
    assert np.mean(hits) > 0.5


def test_shuffled_labels_teach_nothing(study, tmp_path):
    table = pd.read_csv(study / "slides.csv")
    rng = np.random.default_rng(3)
    found = []
    for repeat in range(2):
        patients = table["patient_id"].unique()
        labels = rng.permutation(np.arange(len(patients)) % 2)
        of = dict(zip(patients, labels, strict=True))
        shuffled = [("normal", "tumor")[of[p]] for p in table["patient_id"]]
        path = tmp_path / f"slides{repeat}.csv"
        table.assign(label=shuffled).to_csv(path, index=False)
        result = train_mil_study(
            study / "features", path, CONFIG, tmp_path / f"run{repeat}"
        )
        found.append(result.metrics["patient"]["roc_auc"]["value"])
    assert 0.15 < np.mean(found) < 0.85


def test_a_second_call_trains_nothing(study, trained, monkeypatch):
    monkeypatch.setattr(module, "train_mil", None)
    again = train_mil_study(
        study / "features", study / "slides.csv", CONFIG, study / "run"
    )
    assert again.metrics == trained.metrics


def test_an_interrupted_study_ends_like_an_unbroken_one(
    study, trained, tmp_path, monkeypatch
):
    fit, calls = module.train_mil, []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(module, "train_mil", stop)
    words = (study / "features", study / "slides.csv", CONFIG, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train_mil_study(*words)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == (
        "interrupted"
    )
    result = train_mil_study(*words)
    assert result.metrics == trained.metrics
    assert len(calls) == 4


def test_patients_may_be_bags_and_seeds_be_averaged(study, tmp_path):
    config = MILStudyConfig(
        classes=("normal", "tumor"),
        per="patient",
        folds=3,
        n_seeds=2,
        aggregator="mean",
        widths=(8,),
        epochs=3,
        n_bootstrap=0,
    )
    result = train_mil_study(
        study / "features", study / "slides.csv", config, tmp_path / "run"
    )
    assert result.metrics["slide"]["roc_auc"]["n"] == 18
    assert (tmp_path / "run" / "fold_2" / "model_1.keras").exists()
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert set(zip(history["fold"], history["seed"], strict=True)) == {
        (fold, seed) for fold in range(3) for seed in range(2)
    }


def test_what_does_not_fit_is_named(study, trained, tmp_path):
    table = pd.read_csv(study / "slides.csv")
    table.iloc[:-1].to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(ManifestError, match="belong to no slide"):
        train_mil_study(
            study / "features", tmp_path / "less.csv", CONFIG, tmp_path / "a"
        )
    table.loc[0, "label"] = None
    table.to_csv(tmp_path / "empty.csv", index=False)
    with pytest.raises(CohortError, match="every slide needs a label; 1 have none"):
        train_mil_study(
            study / "features", tmp_path / "empty.csv", CONFIG, tmp_path / "b"
        )
    with pytest.raises(RunError, match="folds was 3, is 4"):
        train_mil_study(
            study / "features",
            study / "slides.csv",
            MILStudyConfig(**{**vars(CONFIG), "folds": 4}),
            study / "run",
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("a",)}, "two classes or more"),
        ({"n_seeds": 0}, "n_seeds must be 1 or more"),
        ({"val_fraction": 0.0}, "val_fraction must lie"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MILStudyConfig(**{"classes": ("a", "b")} | options)
