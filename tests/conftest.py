"""Made slides that many tests share, and the real ones where there are any."""

import dataclasses
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from shapely import box

from eosin.annotations import Feature, write_geojson
from eosin.bags import FeatureInfo, write_features
from eosin.cohorts import PhantomCohort, make_phantom_cohort
from eosin.core import SlideError, write_json
from eosin.settings import (
    BagSettings,
    BagTraining,
    ImportSettings,
    PixelTraining,
    TileTraining,
    TilingSettings,
)
from eosin.slides import Phantom, make_phantom, write_pyramid
from eosin.tiles import ManifestInfo, TileReader, write_manifest
from eosin.workflows.bags import make_bags
from eosin.workflows.evaluate import evaluate
from eosin.workflows.import_patches import import_patches
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import TrainResult, train

# A busy machine is no fault of the code; where time is the claim, a test says so.
settings.register_profile("eosin", deadline=None)
settings.load_profile("eosin")

_DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real slides; tests that need it are skipped without."""
    folder = Path(os.environ.get("EOSIN_DATA", _DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name the folder by EOSIN_DATA")
    return folder


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom(seed=1, size_px=(768, 640))


@pytest.fixture(scope="session")
def phantom_path(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "slide with ä.tif"
    phantom.write(path)
    return path


TILING = TilingSettings(mpp=1.0, tile_px=64)
TRAINING = TileTraining(
    encoder="smallcnn", weights="none", tune_epochs=3, tune_learning_rate=2e-3
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
    tile_cohort(cohort.table, study / "tiles", TILING)
    return study / "tiles"


@pytest.fixture(scope="session")
def run_folder(study: Path, tile_folder: Path) -> Path:
    train(tile_folder, study / "run", TRAINING)
    return study / "run"


@pytest.fixture(scope="session")
def evaluation_folder(run_folder: Path) -> Path:
    evaluate(run_folder)
    return run_folder / "evaluation"


@pytest.fixture
def damage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let some tiles be unreadable, by their ids."""
    damaged: set[str] = set()
    start, read = TileReader.__init__, TileReader.read

    def note_ids(self, tiles, *arguments, **options):
        start(self, tiles, *arguments, **options)
        self.ids = tiles["tile_id"].to_numpy()

    def read_damaged(self, rows):
        if damaged & set(self.ids[np.asarray(rows)]):
            raise SlideError("damaged")
        return read(self, rows)

    monkeypatch.setattr(TileReader, "__init__", note_ids)
    monkeypatch.setattr(TileReader, "read", read_damaged)
    return damaged.update


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
    """A study of three classes: `tiles`, `run`, its evaluation, and `new.tif`."""
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
    tiling = TilingSettings(mpp=1.0, tile_px=32, classes=THREE_CLASSES)
    tile_cohort(folder / "slides.csv", folder / "tiles", tiling)
    config = dataclasses.replace(TRAINING, tune_learning_rate=3e-3)
    train(folder / "tiles", folder / "run", config)
    evaluate(folder / "run")
    # Tumours meet in the middle of this one; there is no normal tissue.
    write_pyramid(folder / "new.tif", paint(rng, "adenoma", "carcinoma"), mpp=1.0)
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
    import_patches(root / "set", root / "tiles", ImportSettings(layout="folder"))
    return root / "tiles"


MADE = {"encoder": "made", "tile_px": 64, "mpp": 1.0, "size_px0": 64}


@pytest.fixture(scope="session")
def make_planted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple]:
    """Make folders of features and of tiles: 12 patients, 6 of them with witnesses.

    Each has one slide of 30 tiles, of which 12 are witnesses, whose features lie
    `shift` deviations from the others' in each of 6 directions.
    """

    def make(shift: float, *, colour: float = 0.0) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp("planted")
        rng = np.random.default_rng(0)
        tables, slides = [], []
        for i in range(12):
            name = f"S{i:02d}"
            label = np.zeros(30, np.int64)
            label[:12] = i % 2
            features = rng.normal(size=(30, 6)) + shift * label[:, None]
            coords = np.stack([np.arange(30) * 64, np.zeros(30, np.int64)], axis=1)
            ids = [f"{name}_{j}" for j in range(30)]
            write_features(
                root / "features" / f"{name}.h5",
                features.astype(np.float32),
                coords,
                FeatureInfo(slide_id=name, **MADE),
                tile_ids=ids,
            )
            table = pd.DataFrame({"tile_id": ids, "x_px0": coords[:, 0], "y_px0": 0})
            table["label"] = pd.array(label, "Int8")
            table["mean_red"] = rng.normal(150, 5, 30) + 5 * colour * label
            tables.append(table.assign(slide_id=name, patient_id=f"P{i:02d}"))
            (root / f"{name}.tif").touch()
            slides.append((name, f"P{i:02d}", str(root / f"{name}.tif")))
        tiles = pd.concat(tables, ignore_index=True).assign(
            split=None, size_px0=64, tissue_fraction=1.0, flags="", sharpness=1.0
        )
        for column in ("mean_green", "mean_blue", "normal_fraction", "tumor_fraction"):
            tiles[column] = 0.5
        manifest = ManifestInfo(
            mpp=1.0, tile_px=64, overlap_px=0, class_names=("normal", "tumor")
        )
        write_manifest(root / "tiles" / "tiles.parquet", tiles, manifest)
        names = ["slide_id", "patient_id", "path"]
        table = pd.DataFrame(slides, columns=names)
        table.assign(label=None, split=None, mpp_used=1.0).to_csv(
            root / "tiles" / "slides.csv", index=False
        )
        return root / "features", root / "tiles"

    return make


FEATURE_TRAINING = BagTraining(
    classes=("normal", "tumor"),
    folds=3,
    epochs=20,
    batch=2,
    learning_rate=1e-2,
    widths=(16,),
    dropout=0.0,
)
ENCODED_TRAINING = BagTraining(
    encoder="smallcnn", weights="none", folds=2, widths=(16,), epochs=10
)
PIXEL_TRAINING = PixelTraining(epochs=4, learning_rate=3e-3, n_seeds=2)
WITNESS_ROWS = (3, 11, 20)


@pytest.fixture(scope="session")
def plant_witnesses() -> Callable[..., Path]:
    """Write features of tiles, of which `WITNESS_ROWS` of tumour slides stand out.

    Row 20 stands out most. `labels` are by slide; of the files that a tile folder
    lies beside, tiles are its own; else a grid of 40 tiles of 64 px.
    """

    def plant(
        folder: Path, labels: dict[str, int], *, tiles: pd.DataFrame | None = None
    ) -> Path:
        rng = np.random.default_rng(len(folder.name))
        grid = np.stack(np.meshgrid(np.arange(8), np.arange(5)), -1).reshape(-1, 2) * 64
        for slide_id, label in labels.items():
            coords = grid
            if tiles is not None:
                own = tiles[tiles["slide_id"] == slide_id]
                coords = own[["x_px0", "y_px0"]].to_numpy(np.int64)
            features = rng.normal(0, 0.5, (len(coords), 6)).astype(np.float32)
            for row in WITNESS_ROWS:
                features[row, : 6 if row == 20 else 3] += 6 * label
            info = FeatureInfo(
                slide_id=slide_id, **MADE, slide_size_px0=(640, 384), slide_mpp=1.0
            )
            path = folder / f"{slide_id}.h5"
            write_features(path, features, coords.astype(np.int64), info)
        return folder

    return plant


@pytest.fixture(scope="session")
def mil_study(
    tmp_path_factory: pytest.TempPathFactory, plant_witnesses: Callable[..., Path]
) -> Path:
    """A study of bags of 12 patients with slides: `tiles`, `features`, `run`.

    The first two patients have two slides each. `slides.csv` has no annotation, and
    of P4 no age.
    """
    folder = tmp_path_factory.mktemp("mil")
    rng = np.random.default_rng(1)
    rows, labels = [], {}
    for index in range(14):
        patient, name = index % 12, f"M{index}"
        labels[name] = patient % 2
        write_pyramid(folder / f"{name}.tif", paint(rng, "normal", "normal"), mpp=1.0)
        row = {"slide_id": name, "path": f"{name}.tif", "patient_id": f"P{patient}"}
        row |= {
            "age": 50 + patient if patient != 4 else None,
            "sex": "fm"[index % 3 > 0],
        }
        rows.append(row | {"label": ("normal", "tumor")[labels[name]]})
    pd.DataFrame(rows).to_csv(folder / "slides.csv", index=False)
    tiling = TilingSettings(mpp=1.0, tile_px=64)
    tile_cohort(folder / "slides.csv", folder / "tiles", tiling)
    tiles = pd.read_parquet(folder / "tiles" / "tiles.parquet")
    plant_witnesses(folder / "features", labels, tiles=tiles)
    write_json(
        folder / "features" / "run.json", {"notes": {"tiles": str(folder / "tiles")}}
    )
    cohort = folder / "slides.csv"
    train(folder / "features", folder / "run", FEATURE_TRAINING, cohort=cohort)
    return folder


@pytest.fixture(scope="session")
def drawn_bags(tmp_path_factory: pytest.TempPathFactory, tile_folder: Path) -> Path:
    """Bags drawn from `tile_folder`, with patients on every side."""
    folder = tmp_path_factory.mktemp("drawn") / "bags"
    make_bags(tile_folder, folder, BagSettings(n_bags=60, size=6, witnesses=(3,)))
    return folder


@pytest.fixture(scope="session")
def pixel_study(drawn_bags: Path) -> Path:
    """A study from pixels: `bags`, and `run` of one fold and two seeds."""
    folder = drawn_bags.parent
    train(drawn_bags, folder / "run", PIXEL_TRAINING)
    return folder


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run of one kind of model, and how to train it again."""

    path: Path
    data: Path
    settings: TileTraining | BagTraining | PixelTraining
    cohort: Path | None = None

    def train(self, out: Path, *, progress: Any = None, **changes: Any) -> TrainResult:
        settings = dataclasses.replace(self.settings, **changes)
        return train(self.data, out, settings, cohort=self.cohort, progress=progress)


@pytest.fixture(scope="session")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Train what has no run yet."""

    def make(**words: Any) -> Trained:
        made = Trained(path=tmp_path_factory.mktemp("kinds") / "run", **words)
        made.train(made.path)
        return made

    return make


@pytest.fixture(scope="session")
def tiles_run(run_folder: Path, tile_folder: Path) -> Trained:
    """A classifier of tiles with one split, all of it trained."""
    return Trained(path=run_folder, data=tile_folder, settings=TRAINING)


@pytest.fixture(scope="session")
def folds_run(train_once: Callable[..., Trained], tile_folder: Path) -> Trained:
    """A classifier of tiles in two folds, on a frozen encoder."""
    head = {"epochs": 10, "learning_rate": 1e-2, "batch": 16, "cached_views": 1}
    settings = dataclasses.replace(TRAINING, fine_tune="none", folds=2, **head)
    return train_once(data=tile_folder, settings=settings)


@pytest.fixture(scope="session")
def slides_run(mil_study: Path) -> Trained:
    """Bags of features, one a slide."""
    cohort, data = mil_study / "slides.csv", mil_study / "features"
    words = {"cohort": cohort, "data": data, "settings": FEATURE_TRAINING}
    return Trained(path=mil_study / "run", **words)


@pytest.fixture(scope="session")
def patients_run(train_once: Callable[..., Trained], slides_run: Trained) -> Trained:
    """Bags of features, one a patient, with columns and two seeds."""
    settings = dataclasses.replace(
        FEATURE_TRAINING, unit="patient", columns=("age", "sex"), folds=2, n_seeds=2
    )
    return train_once(data=slides_run.data, cohort=slides_run.cohort, settings=settings)


@pytest.fixture(scope="session")
def encoded_run(train_once: Callable[..., Trained], tile_folder: Path) -> Trained:
    """Bags of slides, whose tiles the training encodes."""
    return train_once(data=tile_folder, settings=ENCODED_TRAINING)


@pytest.fixture(scope="session")
def drawn_run(train_once: Callable[..., Trained], drawn_bags: Path) -> Trained:
    """Drawn bags, whose tiles the training encodes."""
    return train_once(data=drawn_bags, settings=ENCODED_TRAINING)


@pytest.fixture(scope="session")
def pixels_run(pixel_study: Path) -> Trained:
    """Drawn bags of pixels."""
    data = pixel_study / "bags"
    return Trained(path=pixel_study / "run", data=data, settings=PIXEL_TRAINING)


KINDS = ("tiles", "folds", "slides", "patients", "encoded", "drawn", "pixels")


@pytest.fixture(scope="session", params=KINDS)
def any_run(request: pytest.FixtureRequest) -> Trained:
    """A run of every kind, one after the other."""
    return request.getfixturevalue(f"{request.param}_run")


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take the right to read a file or a folder, from an administrator too."""
    forbidden: set[str] = set()

    def check(path: Any) -> None:
        if isinstance(path, str | os.PathLike) and os.fspath(path) in forbidden:
            raise PermissionError(13, "Permission denied", os.fspath(path))

    for module, name in ((os, "open"), (io, "open"), (os, "listdir")):
        real = getattr(module, name)

        def guarded(path: Any, *args: Any, real: Any = real, **kwargs: Any) -> Any:
            check(path)
            return real(path, *args, **kwargs)

        monkeypatch.setattr(module, name, guarded)

    def take(path: Path) -> None:
        forbidden.add(str(path))

    return take
