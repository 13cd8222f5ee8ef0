import dataclasses
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import FeatureInfo, write_features
from eosin.core import CohortError, ConfigError, ManifestError, RunError
from eosin.evaluation import probability_columns, read_predictions
from eosin.models import load_mil_model
from eosin.workflows import mil_fitting as module
from eosin.workflows.train_mil import MILStudyConfig, train_mil_study

CONFIG = MILStudyConfig(
    classes=("normal", "tumor"),
    folds=3,
    widths=(16,),
    dropout=0.0,
    epochs=15,
    learning_rate=6e-3,
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
            study / "features",
            path,
            dataclasses.replace(CONFIG, epochs=6),
            tmp_path / f"run{repeat}",
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


def test_features_of_another_kind_are_another_study(trained, study, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(study / "run", out)
    other = make_study(tmp_path / "other", shift=0.0)
    (other / "slides.csv").write_bytes((study / "slides.csv").read_bytes())
    with pytest.raises(RunError, match="features"):
        train_mil_study(other / "features", other / "slides.csv", CONFIG, out)


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
        ({"folds": 1}, "folds must be 2 or more"),
        ({"inner_folds": 1}, "inner_folds must be 2 or more"),
        ({"choose": ("folds=1,2",)}, "--choose takes"),
        ({"aggregator": "maxx"}, "got 'maxx'; is 'max' meant"),
        ({"choose": ("aggregator=max,meen",)}, "got 'meen'; is 'mean' meant"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MILStudyConfig(**{"classes": ("a", "b")} | options)


def test_the_precision_reaches_the_models(study, tmp_path):
    config = dataclasses.replace(CONFIG, precision="mixed_bfloat16", folds=2, epochs=1)
    out = tmp_path / "run"
    train_mil_study(study / "features", study / "slides.csv", config, out)
    model = load_mil_model(out / "fold_0" / "model_0.keras")
    assert model.get_config()["precision"] == "mixed_bfloat16"
    assert model.aggregator.compute_dtype == "bfloat16"
    # What is learnt and what is told stay as they were.
    assert all(w.dtype == "float32" for w in model.trainable_weights)
    table, names = read_predictions(out / "predictions.parquet")
    assert table[list(probability_columns(names))].notna().all(axis=None)


def write_labels(study, path, label, **columns):
    """Write the study's slide table with other labels, one for each patient."""
    table = pd.read_csv(study / "slides.csv")
    number = table["patient_id"].str[1:].astype(int)
    columns = {name: number.map(values) for name, values in columns.items()}
    table.assign(label=number.map(label), **columns).to_csv(path, index=False)
    return path


def test_a_clinical_column_alone_is_learnt_and_goes_with_the_model(study, tmp_path):
    rng = np.random.default_rng(0)
    # Labels have nothing to do with the features, which follow a patient's parity.
    labels = {i: ("normal", "tumor")[i // 2 % 2] for i in range(18)}
    ages = {i: f"{50 + 20 * (i // 2 % 2) + rng.normal() * 3:.0f}" for i in range(18)}
    ages[5] = None
    sexes = {i: ("f", "m")[i % 3 > 0] for i in range(18)}
    path = write_labels(study, tmp_path / "s.csv", labels, age=ages, sex=sexes)
    words = (study / "features", path)
    config = dataclasses.replace(CONFIG, columns=("age", "sex"), folds=2)
    result = train_mil_study(*words, config, tmp_path / "run")
    assert result.metrics["patient"]["roc_auc"]["value"] > 0.9
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["clinical"] == ["age", "sex"]
    model = load_mil_model(tmp_path / "run" / "fold_0" / "model_0.keras")
    age, sex = model.clinical.columns
    assert (age.kind, sex.levels) == ("number", ("f", "m"))
    splits = pd.read_csv(tmp_path / "run" / "splits.csv")
    train = splits[(splits["fold"] == 0) & (splits["split"] == "train")]
    known = [ages[int(p[1:])] for p in train["patient_id"].unique()]
    numbers = [float(text) for text in known if text is not None]
    assert age.median == np.median(numbers)


def test_a_clinical_column_of_noise_teaches_nothing(study, tmp_path):
    rng = np.random.default_rng(4)
    found = []
    for repeat in range(2):
        order = rng.permutation(18)
        labels = {i: ("normal", "tumor")[order[i] % 2] for i in range(18)}
        ages = {i: rng.integers(30, 80) for i in range(18)}
        path = write_labels(study, tmp_path / f"{repeat}.csv", labels, age=ages)
        config = dataclasses.replace(CONFIG, columns=("age",), folds=2, epochs=5)
        run = tmp_path / f"run{repeat}"
        result = train_mil_study(study / "features", path, config, run)
        found.append(result.metrics["patient"]["roc_auc"]["value"])
    assert 0.15 < np.mean(found) < 0.85


def test_three_classes_are_learnt(tmp_path):
    rng = np.random.default_rng(0)
    names, rows = ("normal", "adenoma", "carcinoma"), []
    (tmp_path / "f").mkdir()
    for i in range(24):
        features = rng.normal(size=(10 + i, 4)).astype(np.float32)
        if i % 3:
            features[:5, i % 3] += 9
        info = FeatureInfo(slide_id=f"S{i}", encoder="e", tile_px=8, mpp=1, size_px0=8)
        places = np.zeros((len(features), 2), np.int64)
        write_features(tmp_path / "f" / f"S{i}.h5", features, places, info)
        rows.append((f"S{i}", f"P{i}", names[i % 3]))
    table = pd.DataFrame(rows, columns=["slide_id", "patient_id", "label"])
    table.to_csv(tmp_path / "s.csv", index=False)
    config = dataclasses.replace(
        CONFIG,
        classes=names,
        folds=2,
        aggregator="mean",
        epochs=30,
        class_weights=(1.0, 2.0, 2.0),
    )
    out = tmp_path / "run"
    result = train_mil_study(tmp_path / "f", tmp_path / "s.csv", config, out)
    assert result.metrics["slide"]["roc_auc"]["value"] > 0.9
    assert json.loads((out / "card.json").read_text())["threshold"] is None
    held = pd.read_csv(out / "held_out.csv")
    assert [c for c in held if c.startswith("logit_")] == [
        f"logit_{i}" for i in range(3)
    ]


def test_folds_choose_and_say_what(study, tmp_path):
    config = dataclasses.replace(
        CONFIG, choose=("aggregator=mean,max",), inner_folds=2, folds=2, epochs=4
    )
    out = tmp_path / "run"
    result = train_mil_study(study / "features", study / "slides.csv", config, out)
    table = pd.read_csv(out / "choices.csv")
    assert list(table.columns) == [
        "fold",
        "aggregator",
        "log_loss",
        "roc_auc",
        "n",
        "is_chosen",
    ]
    assert len(table) == 4
    best = table.loc[table.groupby("fold")["log_loss"].idxmin()]
    assert best["is_chosen"].all()
    card = json.loads((out / "card.json").read_text())
    assert [own["aggregator"] for own in card["choices"]] == best["aggregator"].tolist()
    for fold, name in enumerate(best["aggregator"]):
        model = load_mil_model(out / f"fold_{fold}" / "model_0.keras")
        assert model.method == name
    assert result.metrics["slide"]["roc_auc"]["value"] is not None


def test_features_that_cannot_be_learnt_from_stop_before_training(tmp_path):
    folder = make_study(tmp_path / "bad", n_patients=6)
    for name in ("S1a", "S4b"):
        with h5py.File(folder / "features" / f"{name}.h5", "r+") as file:
            file["features"][3, 2] = np.nan
    with pytest.raises(ManifestError, match="of 2 of 12 bags cannot be learnt from"):
        train_mil_study(
            folder / "features", folder / "slides.csv", CONFIG, tmp_path / "run"
        )
    assert not (tmp_path / "run" / "state").exists()


def test_bags_of_one_instance_are_learnt_from(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "f").mkdir()
    lines = ["slide_id,patient_id,label"]
    for i in range(12):
        features = rng.normal(size=(1, 3)).astype(np.float32) + 4 * (i % 2)
        info = FeatureInfo(slide_id=f"S{i}", encoder="e", tile_px=8, mpp=1, size_px0=8)
        path = tmp_path / "f" / f"S{i}.h5"
        write_features(path, features, np.zeros((1, 2), np.int64), info)
        lines.append(f"S{i},P{i},{('normal', 'tumor')[i % 2]}")
    (tmp_path / "s.csv").write_text("\n".join(lines))
    result = train_mil_study(
        tmp_path / "f", tmp_path / "s.csv", CONFIG, tmp_path / "run"
    )
    assert result.metrics["slide"]["roc_auc"]["value"] > 0.9
