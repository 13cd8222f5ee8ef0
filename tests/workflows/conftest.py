"""One small study on made slides, run once for all tests of workflows."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from shapely import box

from eosin.annotations import Feature, write_geojson
from eosin.slides import write_pyramid
from eosin.workflows.demo import PhantomCohort, make_phantom_cohort
from eosin.workflows.evaluate import evaluate_run
from eosin.workflows.import_patches import ImportConfig, import_patches
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


THREE_CLASSES = ("normal", "adenoma", "carcinoma")


def paint(rng: np.random.Generator, left: str, right: str) -> np.ndarray:
    """Paint a slide of two squares of tissue, each with its class's own texture."""
    y, x = np.mgrid[:256, :256]
    textures = {
        "normal": np.full((256, 256), 0.2),
        "adenoma": (np.sin(y / 4) > 0).astype(float),
        "carcinoma": (np.sin(x / 3) * np.sin(y / 3) > 0).astype(float),
    }
    image = np.full((384, 640, 3), 244, np.uint8)
    for x0, name in ((64, left), (320, right)):
        tissue = np.array([215, 130, 185]) - textures[name][..., None] * (90, 70, 30)
        tissue += rng.normal(0, 6, tissue.shape)
        image[64:320, x0 : x0 + 256] = np.clip(tissue, 0, 255)
    return image


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three classes: `tiles`, `run`, its evaluation, and `out`."""
    folder = tmp_path_factory.mktemp("three")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(12):
        label = THREE_CLASSES[index % 3]
        name = f"slide-{index}"
        write_pyramid(folder / f"{name}.tif", paint(rng, "normal", label), mpp=1.0)
        row = {"path": f"{name}.tif", "patient_id": f"P{index}", "label": label}
        if label != "normal":
            outline = Feature(box(320, 64, 576, 320), class_name=label.title())
            write_geojson(folder / f"{name}.geojson", [outline])
            row["annotation"] = f"{name}.geojson"
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "slides.csv", index=False)
    tile_cohort(
        folder / "slides.csv",
        TileConfig(mpp=1.0, tile_px=32, classes=THREE_CLASSES),
        folder / "tiles",
    )
    config = TrainConfig(
        encoder="smallcnn", weights="none", tune_epochs=3, tune_learning_rate=3e-3
    )
    train_classifier(folder / "tiles", config, folder / "run")
    evaluate_run(folder / "run", n_bootstrap=50)
    # Tumours meet in the middle of this one; there is no normal tissue.
    write_pyramid(folder / "new.tif", paint(rng, "adenoma", "carcinoma"), mpp=1.0)
    predict_slides(
        folder / "run",
        [folder / "new.tif", folder / "slide-0.tif"],
        PredictConfig(tile_objects=True),
        folder / "out",
    )
    return folder


def paint_patch(seed: int, darkness: float = 0.5) -> np.ndarray:
    """Paint a patch of purple blots on pink, `(48, 48, 3)`, RGB."""
    noise = np.random.default_rng(seed).normal(size=(48, 48))
    blots = cv2.GaussianBlur(noise, (0, 0), 2) * 3 + darkness
    share = np.clip(blots, 0, 1)[..., None]
    colour = (1 - share) * (225, 150, 195) + share * (95, 50, 140)
    grain = np.random.default_rng(seed + 1000).normal(0, 5, colour.shape)
    return np.clip(colour + grain, 1, 254).astype(np.uint8)


ODD_PATCHES = {
    "normal/blank": np.full((48, 48, 3), 250, np.uint8),
    "normal/black": np.full((48, 48, 3), 3, np.uint8),
    "normal/copy": paint_patch(0),
    "normal/turned": np.rot90(paint_patch(2)),
    "tumor/conflict": paint_patch(1),
    "tumor/blurred": cv2.GaussianBlur(paint_patch(40), (0, 0), 6),
    "tumor/saturated": np.where(paint_patch(41) > 140, 255, 0).astype(np.uint8),
}


@pytest.fixture(scope="session")
def odd_patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of 8 plain patches of two classes, and of `ODD_PATCHES`.

    Patch 0 has a copy, 1 one with another label, 2 one that is turned.
    """
    root = tmp_path_factory.mktemp("odd patches")
    plain = {f"normal/{i}": paint_patch(i) for i in range(4)}
    plain |= {f"tumor/{i}": paint_patch(i, 0.7) for i in range(10, 14)}
    for name, pixels in (plain | ODD_PATCHES).items():
        path = root / "set" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(np.array(pixels), cv2.COLOR_RGB2BGR))
    import_patches(root / "set", ImportConfig(layout="folder"), root / "tiles")
    return root / "tiles"
