import dataclasses

import pandas as pd
import pytest

from eosin.evaluation import choose_on_validation, read_predictions
from eosin.models import find_encoder
from eosin.workflows.run_card import make_card
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.train_tiles import TrainConfig

TRAINING = TrainConfig(encoder="densenet121", weights="imagenet")


@pytest.fixture
def describe(tile_folder, run_folder):
    folder = open_tile_folder(tile_folder)
    validation, names = read_predictions(run_folder / "validation.parquet")
    choices = choose_on_validation(validation, class_names=names)
    splits = pd.read_csv(run_folder / "splits.csv")

    def make(**changes):
        config = dataclasses.replace(TRAINING, **changes)
        return make_card(folder, splits, config, choices, 1.5, ("Doubt it.",))

    return make


def test_a_card_says_where_the_weights_came_from(describe):
    card = describe()
    assert (card.weights, card.temperature) == ("imagenet", 1.5)
    assert card.encoder_licence == find_encoder("densenet121").imagenet_licence
    assert describe(weights="none").encoder_licence == "own"
    own = describe(weights="/some/where/mine.weights.h5")
    assert own.weights == "mine.weights.h5"
    assert own.encoder_licence == "as its file's owner states"


def test_a_card_names_a_model_of_each_fold(describe):
    assert describe().models == ("model.onnx",)
    assert describe(folds=2).models == ("fold_0/model.onnx", "fold_1/model.onnx")


def test_a_card_holds_what_prediction_must_do_alike(describe):
    card = describe(views=4)
    assert (card.mpp, card.tile_px, card.views) == (1.0, 64, 4)
    assert (card.tissue, card.min_tissue) == ("saturation", 0.25)
    assert "Doubt it." in card.cautions
    assert card.training_data["n_slides"] == card.training_data["n_patients"]
