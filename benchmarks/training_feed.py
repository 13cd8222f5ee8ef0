"""Does the training input keep up with the model? Images/s of both, in turn.

    python benchmarks/training_feed.py [--repeats 5] [--cases patches-smallcnn ...]

For each case: the feed alone (reading, decoding, turns, flips and stain jitter, as
training reads it), the model's own step on tiles that lie in memory, and training as it
is, with the feed one batch ahead in a thread. The three take turns; ratios are medians
over the turns. All is made: patches of 96 px in files, and slides of JPEG tiles.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from eosin.inference import encode_tiles, open_session
from eosin.models import build_classifier, build_encoder, build_stem, export_onnx
from eosin.settings import HeadFit, TuneFit
from eosin.slides import make_phantom, open_slide
from eosin.studies.tile_learner import Augmentation
from eosin.tiles import PatchReader
from eosin.training import CachedViews, PixelTiles, TrainingTiles
from eosin.training.loop import trying_steps
from eosin.training.tile_training import TileBatches

N_TILES = 1024
PATCH_PX, SLIDE_PX = 96, 256
JITTER = 0.2
CASES = (
    "patches-smallcnn", "patches-mobilenetv2", "patches-frozen", "patches-head",
    "slides-smallcnn", "slides-mobilenetv2", "slides-frozen",
)  # fmt: skip
Read = Callable[[np.ndarray], np.ndarray]
Work = Callable[[], int]


@contextmanager
def open_patches(folder: Path, suffix: str) -> Iterator[Read]:
    rng = np.random.default_rng(0)
    image = make_phantom(seed=0, size_px=(2048, 2048), mpp=0.97).image[..., ::-1]
    for i in range(N_TILES):
        y, x = rng.integers(0, 2048 - PATCH_PX, 2)
        patch = np.ascontiguousarray(image[y : y + PATCH_PX, x : x + PATCH_PX])
        options = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tif" else []
        cv2.imwrite(str(folder / f"{i}{suffix}"), patch, options)
    names = [f"{i}{suffix}" for i in range(N_TILES)]
    reader = PatchReader([str(folder)] * N_TILES, names, [-1] * N_TILES, PATCH_PX)
    yield reader.read
    reader.close()


@contextmanager
def open_slides(folder: Path) -> Iterator[Read]:
    """Tiles off the file's grid, at a magnification that has to be resampled."""
    path = folder / "slide.tif"
    make_phantom(seed=0, size_px=(6144, 6144), mpp=0.5).write(path)
    rng = np.random.default_rng(0)
    side = 2 * SLIDE_PX
    corners = rng.integers(0, 6144 - side, (N_TILES, 2))
    boxes = np.column_stack([corners, np.full((N_TILES, 2), side)]).astype(np.int64)
    with open_slide(path) as slide:

        def read(rows: np.ndarray) -> np.ndarray:
            out = np.empty((len(rows), SLIDE_PX, SLIDE_PX, 3), np.uint8)
            slide.read_tiles(boxes[rows], out)
            return out

        yield read


def build(encoder: str, px: int) -> Any:
    own = build_encoder(encoder, tile_px=px, weights="none", seed=0)
    return build_classifier(own, n_classes=2, dropout=0.5, seed=0)


def make_tiles(n: int) -> TrainingTiles:
    rows = np.arange(n)
    return TrainingTiles(
        rows % 2, rows.astype(str), rows[: n - 64], rows[n - 64 :], ("normal", "tumor")
    )


def take_steps(
    stack: ExitStack, model: Any, source: Any, config: Any, steps: int
) -> Work:
    step = stack.enter_context(
        trying_steps(TileBatches(model, source, make_tiles(source.n_tiles), config))
    )

    def work() -> int:
        for _ in range(steps):
            step(1e-4)
        return steps * config.batch

    return work


def prepare_tuning(
    stack: ExitStack, read: Read, encoder: str, px: int, steps: int
) -> dict[str, Work]:
    config = TuneFit(depth="all", batch=32, batch_norm="trained", balance="none")
    feed = PixelTiles(read, N_TILES, augment=Augmentation(JITTER))
    pixels = read(np.arange(256))
    memory = PixelTiles(lambda rows: pixels[rows], len(pixels))
    rng = np.random.default_rng(0)

    def read_only() -> int:
        for _ in range(steps):
            feed.read_training(rng.integers(N_TILES, size=32), rng)
        return steps * 32

    return {
        "feed": read_only,
        "model": take_steps(stack, build(encoder, px), memory, config, steps),
        "training": take_steps(stack, build(encoder, px), feed, config, steps),
    }


def prepare_frozen(
    stack: ExitStack, read: Read, encoder: str, px: int, steps: int
) -> dict[str, Work]:
    """Encoding once, eight views of each tile."""
    del stack
    folder = Path(tempfile.mkdtemp())
    export_onnx(build_stem(build(encoder, px), "head"), folder / "stem.onnx")
    session = open_session(folder / "stem.onnx")
    augment = Augmentation(JITTER)
    rng = np.random.default_rng(0)
    n = 8 * steps
    pixels = read(np.arange(n))

    def read_only() -> int:
        # Eight views are made of what is read once.
        tiles = read(rng.integers(N_TILES, size=n))
        for _ in range(8):
            augment(tiles, rng)
        return n * 8

    def run_only() -> int:
        for _ in range(8):
            session.run(pixels)
        return n * 8

    def encode() -> int:
        with tempfile.TemporaryDirectory() as name:
            encode_tiles(
                read, n, session, Path(name), key="", views=8,
                augment=lambda tiles, rows, view: augment(tiles, rng),
            )  # fmt: skip
        return n * 8

    return {"feed": read_only, "model": run_only, "training": encode}


def prepare_head(stack: ExitStack, steps: int) -> dict[str, Work]:
    """The head on cached features of DenseNet121, eight views of 20,000 tiles."""
    config = HeadFit(balance="none")
    rng = np.random.default_rng(0)
    cached = CachedViews(rng.normal(size=(8, 20_000, 1024)).astype(np.float32))
    # 64 validate, the others are two whole batches.
    memory = CachedViews(rng.normal(size=(1, 320, 1024)).astype(np.float32))

    def build_head() -> Any:
        from eosin.models import split_model

        return split_model(build("densenet121", PATCH_PX), "head")[1]

    def read_only() -> int:
        for _ in range(steps):
            cached.read_training(rng.integers(20_000, size=config.batch), rng)
        return steps * config.batch

    return {
        "feed": read_only,
        "model": take_steps(stack, build_head(), memory, config, steps),
        "training": take_steps(stack, build_head(), cached, config, steps),
    }


def prepare(stack: ExitStack, case: str, folder: Path, suffix: str) -> dict[str, Work]:
    kind, stage = case.split("-")
    if stage == "head":
        return prepare_head(stack, 60)
    is_patch = kind == "patches"
    opened = open_patches(folder, suffix) if is_patch else open_slides(folder)
    read = stack.enter_context(opened)
    px = PATCH_PX if is_patch else SLIDE_PX
    if stage == "frozen":
        return prepare_frozen(stack, read, "mobilenetv2", px, 8 if is_patch else 2)
    steps = {"smallcnn": 12 if is_patch else 3, "mobilenetv2": 1}[stage]
    return prepare_tuning(stack, read, stage, px, steps)


def measure(works: dict[str, Work], repeats: int) -> dict[str, Any]:
    for work in works.values():
        work()
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            n = work()
            rates[name].append(n / (time.perf_counter() - started))
    pairs = list(zip(rates["feed"], rates["model"], rates["training"], strict=True))
    return {
        "images_per_s": {k: round(statistics.median(v), 1) for k, v in rates.items()},
        "feed_over_model": round(statistics.median(f / m for f, m, _ in pairs), 2),
        "training_over_model": round(statistics.median(t / m for _, m, t in pairs), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--suffix", default=".tif", choices=[".tif", ".jpg", ".png"])
    parser.add_argument("--profile", action="store_true", help="profile each feed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    for case in options.cases:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            works = prepare(stack, case, Path(name), options.suffix)
            result[case] = measure(works, options.repeats)
            print(case, json.dumps(result[case]), flush=True)
            if options.profile:
                with cProfile.Profile() as profile:
                    works["feed"]()
                pstats.Stats(profile).sort_stats("tottime").print_stats(12)
        if options.out is not None:
            options.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
