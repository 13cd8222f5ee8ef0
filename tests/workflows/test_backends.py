"""One journey with whatever backend `KERAS_BACKEND` names: see `make test-backends`."""

import os

import pandas as pd
import pytest

from eosin.cohorts import make_phantom_cohort
from eosin.settings import BagTraining, TileTraining, TilingSettings
from eosin.workflows.evaluate import evaluate
from eosin.workflows.predict import predict
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import train

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    return make_phantom_cohort(folder, n_patients=8, n_new=1, size_px=(1024, 896))


@pytest.fixture(scope="module")
def tiles(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiled") / "tiles"
    tile_cohort(cohort.table, folder, TilingSettings(mpp=2.0, tile_px=64), workers=1)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        TileTraining(encoder="smallcnn", weights="none", tune_epochs=1),
        BagTraining(encoder="smallcnn", weights="none", epochs=2, folds=2),
    ],
    ids=["tiles", "bags"],
)
def test_from_slides_to_predictions(cohort, tiles, tmp_path, settings):
    run = tmp_path / "run"
    trained = train(tiles, run, settings)
    from eosin.models.keras_backend import keras

    assert keras.config.backend() == os.environ["KERAS_BACKEND"]
    assert trained.card.models
    assert all(auc is not None for auc in trained.validation_aucs)
    evaluate(run)
    assert (run / "evaluation" / "report.html").exists()
    predict(run, cohort.new_slides, tmp_path / "predicted", workers=1)
    slides = pd.read_csv(tmp_path / "predicted" / "slides.csv")
    assert len(slides) == 1
    (name,) = {"score", "probability_tumor"} & {*slides.columns}
    assert slides[name].between(0, 1).all()
