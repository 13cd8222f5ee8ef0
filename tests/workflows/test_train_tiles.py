import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from eosin.core import CohortError, ConfigError, ModelError, RunError
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
    train_classifier(tile_folder, config, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["stage"]) == ["head"] * 3 + ["fine_tune"]
    caches = list((tile_folder / "cache").glob("smallcnn-*/activations.npy"))
    assert len(caches) == 1
    assert np.load(caches[0], mmap_mode="r").shape[0] == 2


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
