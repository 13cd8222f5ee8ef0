"""One small study on made slides, run once for all tests of workflows."""

from pathlib import Path

import pytest

from eosin.workflows.demo import PhantomCohort, make_phantom_cohort
from eosin.workflows.evaluate import evaluate_run
from eosin.workflows.predict import PredictConfig, predict_slides
from eosin.workflows.tile import TileConfig, tile_cohort
from eosin.workflows.train_tiles import TrainConfig, train_classifier

TILING = TileConfig(mpp=1.0, tile_px=64)
TRAINING = TrainConfig(
    encoder="smallcnn",
    weights="none",
    tune_epochs=3,
    tune_learning_rate=2e-3,
)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study with späces")


@pytest.fixture(scope="session")
def cohort(study: Path) -> PhantomCohort:
    return make_phantom_cohort(
        study / "cohort", n_patients=10, n_new=2, size_px=(1024, 896)
    )


@pytest.fixture(scope="session")
def tile_folder(study: Path, cohort: PhantomCohort) -> Path:
    tile_cohort(cohort.table, TILING, study / "tiles")
    return study / "tiles"


@pytest.fixture(scope="session")
def run_folder(study: Path, tile_folder: Path) -> Path:
    train_classifier(tile_folder, TRAINING, study / "run")
    return study / "run"


@pytest.fixture(scope="session")
def evaluation_folder(run_folder: Path) -> Path:
    evaluate_run(run_folder, n_bootstrap=50)
    return run_folder / "evaluation"


@pytest.fixture(scope="session")
def prediction_folder(study: Path, run_folder: Path, cohort: PhantomCohort) -> Path:
    predict_slides(run_folder, cohort.new_slides, PredictConfig(), study / "out")
    return study / "out"
