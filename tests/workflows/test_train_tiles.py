import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from eosin.core import CohortError, ConfigError, ModelError, RunError, load_config
from eosin.evaluation import read_predictions
from eosin.inference import open_session, read_card
from eosin.models import load_classifier
from eosin.tiles import read_manifest, write_manifest
from eosin.workflows import fold_training
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.train_tiles import TrainConfig, train_classifier

TRAINING = TrainConfig(
    encoder="smallcnn", weights="none", tune_epochs=3, tune_learning_rate=2e-3
)
FROZEN = dataclasses.replace(TRAINING, fine_tune="none", epochs=3, cached_views=2)


def test_a_run_folder_holds_all_that_later_steps_need(run_folder):
    for name in ("model.keras", "model.onnx", "history.csv", "history.png"):
        assert (run_folder / name).stat().st_size > 0
    card = read_card(run_folder)
    assert card.class_names == ("normal", "tumor")
    assert (card.mpp, card.tile_px) == (1.0, 64)
    assert 0 < card.tile_threshold < 1
    assert card.is_made_data
    history = pd.read_csv(run_folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]


def test_no_patient_is_in_two_splits_and_the_card_counts_them(run_folder):
    splits = pd.read_csv(run_folder / "splits.csv")
    assert len(splits[["patient_id", "split"]].drop_duplicates()) == 10
    assert set(splits["split"]) == {"train", "val", "test"}
    card = read_card(run_folder)
    assert card.training_data["n_slides"] == (splits["split"] == "train").sum()


def test_the_exported_model_gives_the_trained_models_logits(run_folder, tile_folder):
    folder = open_tile_folder(tile_folder)
    with folder.open_reader() as reader:
        tiles = reader.read(np.arange(8))
    logits = open_session(run_folder / "model.onnx").run(tiles)["logits"]
    trained = load_classifier(run_folder / "model.keras").predict(
        tiles.astype(np.float32), verbose=0
    )
    np.testing.assert_allclose(logits, trained, atol=1e-4)


def test_two_runs_with_one_seed_agree(run_folder, tile_folder, tmp_path):
    train_classifier(tile_folder, TRAINING, tmp_path / "run")
    first, _ = read_predictions(run_folder / "validation.parquet")
    second, _ = read_predictions(tmp_path / "run" / "validation.parquet")
    pd.testing.assert_frame_equal(first, second, rtol=1e-5)
    assert read_card(run_folder).tile_threshold == pytest.approx(
        read_card(tmp_path / "run").tile_threshold, rel=1e-5
    )


def test_a_finished_run_is_reused(run_folder, tile_folder, monkeypatch):
    monkeypatch.setattr(
        fold_training, "fine_tune", lambda *a, **k: pytest.fail("trained again")
    )
    result = train_classifier(tile_folder, TRAINING, run_folder)
    assert result.card == read_card(run_folder)


def test_a_changed_setting_is_named_and_stops(run_folder, tile_folder):
    changed = dataclasses.replace(TRAINING, seed=7)
    with pytest.raises(RunError, match="seed was 0, is 7"):
        train_classifier(tile_folder, changed, run_folder)


def test_an_interrupted_run_ends_with_the_same_model(
    run_folder, tile_folder, tmp_path, monkeypatch
):
    real = fold_training.FoldTrainer._say_epoch

    def interrupt(self, metrics):
        real(self, metrics)
        if metrics.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fold_training.FoldTrainer, "_say_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(tile_folder, TRAINING, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == (
        "interrupted"
    )
    monkeypatch.setattr(fold_training.FoldTrainer, "_say_epoch", real)
    train_classifier(tile_folder, TRAINING, tmp_path / "run")
    first, _ = read_predictions(run_folder / "validation.parquet")
    second, _ = read_predictions(tmp_path / "run" / "validation.parquet")
    pd.testing.assert_frame_equal(first, second, rtol=1e-5)


def test_epochs_are_stated_or_follow_from_the_number_of_tiles():
    own = load_config(TrainConfig, overrides=["epochs=7"])
    assert (own.epochs, own.head.epochs, own.head.min_steps) == (7, 7, 0)
    for config in (TrainConfig(), load_config(TrainConfig, overrides=["epochs=auto"])):
        assert config.epochs == "auto"
        assert (config.head.epochs, config.head.min_steps) == (20, 2000)
    with pytest.raises(ConfigError, match="epochs must be 1 or more, got 0"):
        TrainConfig(epochs=0)
    with pytest.raises(ConfigError, match="epochs must be"):
        load_config(TrainConfig, overrides=["epochs=many"])


def test_folds_hold_every_patient_out_once(tile_folder, tmp_path):
    config = dataclasses.replace(FROZEN, folds=2)
    result = train_classifier(tile_folder, config, tmp_path / "run")
    splits = pd.read_csv(tmp_path / "run" / "splits.csv")
    held_out = splits[splits["split"] == "test"]
    assert sorted(held_out["patient_id"]) == sorted(splits["patient_id"].unique())
    assert result.card.models == ("fold_0/model.onnx", "fold_1/model.onnx")
    assert len(result.validation_aucs) == 2


def test_the_last_block_is_tuned_on_activations_that_were_encoded_once(
    tile_folder, tmp_path
):
    config = dataclasses.replace(
        FROZEN, fine_tune="last", tune_epochs=1, stain_jitter=0.1
    )
    before = set(tile_folder.glob("cache/smallcnn-*/activations.npy"))
    train_classifier(tile_folder, config, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["stage"]) == ["head"] * 3 + ["fine_tune"]
    (made,) = set(tile_folder.glob("cache/smallcnn-*/activations.npy")) - before
    assert np.load(made, mmap_mode="r").shape[0] == 2


def test_only_one_class_in_train_is_an_error(tile_folder, tmp_path):
    tiles, info = read_manifest(tile_folder / "tiles.parquet")
    tiles["label"] = tiles["label"].where(tiles["label"] == 0)
    (tmp_path / "tiles").mkdir()
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles, info)
    slides = pd.read_csv(tile_folder / "slides.csv")
    slides.to_csv(tmp_path / "tiles" / "slides.csv", index=False)
    with pytest.raises(ConfigError, match="train must hold tiles of every class"):
        train_classifier(tmp_path / "tiles", TRAINING, tmp_path / "run")


def test_too_few_patients_for_the_folds_is_an_error(tile_folder, tmp_path):
    config = dataclasses.replace(FROZEN, folds=9)
    with pytest.raises(CohortError, match="patients"):
        train_classifier(tile_folder, config, tmp_path / "run")


def test_weights_of_another_architecture_are_refused(tile_folder, run_folder, tmp_path):
    import h5py

    with h5py.File(tmp_path / "wrong.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 3), np.float32)
    config = dataclasses.replace(
        TRAINING, weights=str(tmp_path / "wrong.weights.h5"), fine_tune="none"
    )
    with pytest.raises(ModelError, match=r"wrong\.weights\.h5"):
        train_classifier(tile_folder, config, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "resnet999"}, "encoder must be one of"),
        ({"folds": 0}, "folds must be 1 or more"),
        ({"test_fraction": 0.9}, "test_fraction must lie between"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**change)


def test_random_weights_are_trained_whole_and_pretrained_ones_frozen():
    assert TRAINING.depth == "all"
    assert TRAINING.tuning.batch_norm == "trained"
    assert TrainConfig().depth == "none"
    assert dataclasses.replace(TRAINING, weight_decay=0.1).head.optimiser == "adamw"


def read_scores(run):
    table, _ = read_predictions(run / "validation.parquet")
    tiles = table[table["level"] == "tile"]
    return tiles.set_index("id")["probability_tumor"].sort_index()


@pytest.fixture(scope="module")
def runs(tile_folder, tmp_path_factory):
    """Train with some settings, each set of them once; the scores of its run."""
    root, known = tmp_path_factory.mktemp("runs"), {}

    def train(**changes):
        key = str(sorted(changes.items()))
        if key not in known:
            out = root / str(len(known))
            config = dataclasses.replace(FROZEN, **changes)
            train_classifier(tile_folder, config, out)
            known[key] = read_scores(out)
        return known[key]

    return train


LAST = {"fine_tune": "last", "tune_epochs": 1, "epochs": 1, "cached_views": 1}


@pytest.mark.parametrize(
    ("common", "change"),
    [
        ({}, {"mixup": 0.4}),
        ({}, {"ema_decay": 0.9}),
        ({"balance": "none"}, {"class_weights": "balanced"}),
        ({"balance": "none"}, {"class_weights": (1.0, 5.0)}),
        (LAST, {"layer_decay": 0.1}),
    ],
    ids=["mixup", "ema_decay", "balanced", "class_weights", "layer_decay"],
)
def test_a_setting_of_training_reaches_the_model(runs, common, change):
    plain, changed = runs(**common), runs(**common, **change)
    assert list(plain.index) == list(changed.index)
    assert np.abs(plain - changed).max() > 1e-4


def test_weight_on_a_class_makes_it_more_probable(tile_folder, tmp_path):
    means = []
    for weight in (1.0, 5.0):
        config = dataclasses.replace(
            FROZEN, balance="none", class_weights=(1.0, weight), learning_rate=1e-2
        )
        train_classifier(tile_folder, config, tmp_path / str(weight))
        # Before the temperature, which would take some of it back.
        result = tmp_path / str(weight) / "state" / "fold_0" / "result.json"
        means.append(np.mean(json.loads(result.read_text())["logits"]))
    assert means[1] > means[0]


def test_unfreezing_goes_step_by_step_at_falling_rates(tile_folder, tmp_path):
    config = dataclasses.replace(
        FROZEN,
        fine_tune="progressive",
        epochs=1,
        cached_views=1,
        tune_epochs=1,
        tune_learning_rate=1e-3,
        schedule="constant",
        unfreeze_factor=0.5,
    )
    train_classifier(tile_folder, config, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["stage"]) == [
        "head", "fine_tune", "fine_tune_2", "fine_tune_3",
    ]  # fmt: skip
    np.testing.assert_allclose(history["learning_rate"][1:], [1e-3, 5e-4, 2.5e-4])
    # More is trained in each step, and what is trained has moved.
    state = tmp_path / "run" / "state" / "fold_0"
    assert sorted(path.stem for path in state.glob("fine_tune*.npz")) == [
        "fine_tune", "fine_tune_2", "fine_tune_3",
    ]  # fmt: skip


def test_an_interrupted_unfreezing_ends_with_the_same_model(
    tile_folder, tmp_path, monkeypatch
):
    config = dataclasses.replace(
        FROZEN, fine_tune="progressive", epochs=1, cached_views=1, tune_epochs=1
    )
    train_classifier(tile_folder, config, tmp_path / "whole")
    real = fold_training.FoldTrainer._say_epoch

    def interrupt(self, metrics):
        real(self, metrics)
        if metrics.stage == "fine_tune_2":
            raise KeyboardInterrupt

    monkeypatch.setattr(fold_training.FoldTrainer, "_say_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(tile_folder, config, tmp_path / "broken")
    monkeypatch.setattr(fold_training.FoldTrainer, "_say_epoch", real)
    train_classifier(tile_folder, config, tmp_path / "broken")
    pd.testing.assert_series_equal(
        read_scores(tmp_path / "whole"), read_scores(tmp_path / "broken"), rtol=1e-5
    )


def test_snapshots_of_each_fold_are_exported(tile_folder, tmp_path):
    config = dataclasses.replace(FROZEN, folds=2, snapshots=2)
    train_classifier(tile_folder, config, tmp_path / "run")
    for fold in ("fold_0", "fold_1"):
        place = tmp_path / "run" / fold
        table = pd.read_csv(place / "snapshots" / "snapshots.csv")
        history = pd.read_csv(tmp_path / "run" / "history.csv")
        own = history[history["fold"] == int(fold[-1])]
        assert 1 <= len(table) <= 2
        assert table["val_roc_auc"].iloc[0] == pytest.approx(own["val_roc_auc"].max())
        names = [f"{name}.onnx" for name in table["snapshot"]]
        assert sorted(p.name for p in (place / "snapshots").glob("*.onnx")) == sorted(
            names
        )
        # The best one is the model of the fold.
        tiles = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
        np.testing.assert_allclose(
            open_session(place / "snapshots" / names[0]).run(tiles)["logits"],
            open_session(place / "model.onnx").run(tiles)["logits"],
            atol=1e-5,
        )


def test_a_run_without_snapshots_has_none(run_folder):
    assert not (run_folder / "snapshots").exists()


def test_the_recipe_is_on_the_card(tile_folder, tmp_path):
    config = dataclasses.replace(FROZEN, recipe="mobilenetv2-baseline", epochs=1)
    card = train_classifier(tile_folder, config, tmp_path / "run").card
    assert card.recipe.startswith("mobilenetv2-baseline, but for encoder = smallcnn (")
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["recipe"] == "mobilenetv2-baseline"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unfreeze_steps": 1}, "unfreeze_steps must be 2 or more, got 1"),
        ({"snapshots": -1}, "snapshots must be 0 or more"),
        ({"unfreeze_factor": 0.0}, r"unfreeze_factor must be in \(0, 1\]"),
        ({"class_weights": "balanced"}, "--set balance=none"),
        ({"mixup": -1.0}, "mixup must be 0 or more"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"layer_decay": 0.0}, "layer_decay must be in"),
    ],
)
def test_contradictions_are_refused_before_any_tile_is_read(change, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**change)


def test_class_weights_of_another_number_of_classes_are_refused(tile_folder, tmp_path):
    config = dataclasses.replace(
        FROZEN, balance="none", class_weights=(1.0, 2.0, 3.0), epochs=1
    )
    with pytest.raises(ConfigError, match="class_weights must be 2 numbers above 0"):
        train_classifier(tile_folder, config, tmp_path / "run")
