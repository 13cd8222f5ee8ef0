import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.core import ModelError, Progress
from eosin.inference import open_session
from eosin.tiles import apply_view
from eosin.workflows import fold_training, scoring
from eosin.workflows.fold_training import Augmentation, FoldTrainer
from eosin.workflows.scoring import score_rows
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.train_tiles import TrainConfig, assign_splits

VIEWS = TrainConfig(
    encoder="smallcnn",
    weights="none",
    fine_tune="none",
    epochs=2,
    cached_views=8,
    views=4,
)
FROZEN = TrainConfig(
    encoder="smallcnn", weights="none", fine_tune="none", epochs=2, cached_views=1
)


def make_trainer(tile_folder, config=FROZEN):
    folder = open_tile_folder(tile_folder)
    return FoldTrainer(folder, assign_splits(folder, config), config, Progress())


def test_a_finished_fold_is_read_back_as_it_was(tile_folder, tmp_path, monkeypatch):
    first = make_trainer(tile_folder).train(0, tmp_path / "run", tmp_path / "state")
    monkeypatch.setattr(
        fold_training, "fit_head", lambda *a, **k: pytest.fail("trained again")
    )
    second = make_trainer(tile_folder).train(0, tmp_path / "run", tmp_path / "state")
    pd.testing.assert_frame_equal(first.history, second.history)
    pd.testing.assert_frame_equal(first.validation, second.validation)
    np.testing.assert_array_equal(first.validation_logits, second.validation_logits)


def test_every_tile_of_validation_slides_is_scored_labelled_or_not(
    tile_folder, tmp_path
):
    result = make_trainer(tile_folder).train(0, tmp_path / "run", tmp_path / "state")
    folder = open_tile_folder(tile_folder)
    slides = set(result.validation["slide_id"])
    expected = folder.tiles[folder.tiles["slide_id"].isin(slides)]
    assert list(result.validation["tile_id"]) == list(expected["tile_id"])


def test_an_export_that_differs_stops_the_run(tile_folder, tmp_path, monkeypatch):
    real = fold_training.open_session

    class Shifted:
        def __init__(self, session):
            self._session = session
            self.outputs = session.outputs

        def run(self, tiles, **options):
            found = self._session.run(tiles, **options)
            return {name: value + 0.01 for name, value in found.items()}

    def open_shifted(path, **options):
        session = real(path, **options)
        return Shifted(session) if path.name == "model.onnx" else session

    monkeypatch.setattr(fold_training, "open_session", open_shifted)
    with pytest.raises(ModelError, match=r"differ by up to 0\.01"):
        make_trainer(tile_folder).train(0, tmp_path / "run", tmp_path / "state")


def test_augmentation_turns_tiles_and_depends_on_its_generator_alone():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (16, 8, 8, 3), dtype=np.uint8)
    first = Augmentation(0)(tiles, np.random.default_rng(3))
    second = Augmentation(0)(tiles, np.random.default_rng(3))
    np.testing.assert_array_equal(first, second)
    for before, after in zip(tiles, first, strict=True):
        views = [apply_view(before[None], view)[0] for view in range(8)]
        assert any(np.array_equal(after, view) for view in views)
    stained = Augmentation(0.2)(tiles, np.random.default_rng(3))
    assert not np.array_equal(stained, first)


@pytest.mark.parametrize(
    ("config", "changes", "n_full"),
    [
        (FROZEN, {}, 0),
        (VIEWS, {}, 0),
        (FROZEN, {"views": 8, "cached_views": 4}, 0),
        (FROZEN, {"views": 2, "cached_views": 2, "stain_jitter": 0.1}, 0),
        (FROZEN, {"fine_tune": "last", "tune_epochs": 1}, 1),
    ],
    ids=["one view", "four views", "more views", "stained views", "a trained encoder"],
)
def test_validation_is_scored_as_by_the_exported_model(
    tile_folder, tmp_path, monkeypatch, config, changes, n_full
):
    heard = []

    def listen(*arguments, **options):
        heard.append(options["views"])
        return score_rows(*arguments, **options)

    monkeypatch.setattr(scoring, "score_rows", listen)
    config = dataclasses.replace(config, **changes)
    trainer = make_trainer(tile_folder, config)
    found = trainer.train(0, tmp_path / "run", tmp_path / "state")
    # Only an encoder that was trained runs over tiles again.
    assert heard == [config.views] * n_full
    expected = score_rows(
        open_tile_folder(tile_folder),
        found.validation,
        [open_session(tmp_path / "run" / "model.onnx")],
        views=config.views,
    )
    np.testing.assert_allclose(found.validation_logits, expected.logits, atol=1e-6)
    assert found.validation["label"].isna().any()
