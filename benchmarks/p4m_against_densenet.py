"""P4M-DenseNet against a plain DenseNet of as many parameters, on turned tiles.

    python benchmarks/p4m_against_densenet.py [--seeds 3] [--train 160] [--epochs 16]

The tiles are made: elongated nuclei in pairs that lie at any angle, as a T in one class
and as an L in the other, among single ones, so that neither colour, nor how many there
are, nor any single one's direction tells the classes apart. Every slide has a stain of
its own, and no slide is on two sides. Both networks are trained by eosin's own loop,
with random turns and reflections, for as many steps, and scored on the tile as it is
and as the mean over all 8 views of it. P4M takes about five times as long per step, so
`--networks plain --epochs 64` is the comparison by time instead. This says how the two
compare on few tiles of a task in which direction must not count; it says nothing of
accuracy on tissue.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from made_stain import draw_nucleus, stain_nuclei
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from eosin.models.keras_backend import keras
from eosin.models.p4m_densenet import run_p4m_densenet
from eosin.models.preprocessing import SIGNED_UNIT, preprocess
from eosin.models.tile_classifiers import build_classifier
from eosin.settings import TuneFit
from eosin.studies.tile_learner import Augmentation
from eosin.tiles import N_VIEWS, apply_view
from eosin.training import PixelTiles, TrainingTiles
from eosin.training.loop import run_epochs
from eosin.training.tile_training import TileBatches

TILE_PX = 80
PAIRS, SINGLES = 5, 2
PER_SLIDE = 16
# With these the plain network has 118,681 parameters, the other 118,738.
FIRST, GROWTH, BLOCKS = 23, 25, 5

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MadeSet:
    """Made tiles, with labels and slides."""

    pixels: Pixels
    labels: NDArray[np.int64]
    slides: NDArray[np.str_]


def make_set(n_tiles: int, seed: int) -> MadeSet:
    """Draw tiles of both classes, half and half on each slide."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_tiles) % 2
    slides = np.arange(n_tiles) // PER_SLIDE
    stains = rng.uniform(0.6, 1.2, (slides.max() + 1, 2))
    pixels = np.stack(
        [
            draw_tile(int(label), stains[slide], rng)
            for label, slide in zip(labels, slides, strict=True)
        ]
    )
    return MadeSet(pixels, labels, np.array([f"S{seed}-{i}" for i in slides]))


def draw_tile(label: int, stain: NDArray[Any], rng: np.random.Generator) -> Pixels:
    """Draw pairs of nuclei on eosin, by the optical density of both stains."""
    nuclei = np.zeros((TILE_PX, TILE_PX), np.float32)

    def draw(centre: NDArray[Any], angle: float) -> None:
        axes = (rng.uniform(10, 13), rng.uniform(3.6, 4.8))
        draw_nucleus(nuclei, centre, axes, angle, rng.uniform(0.6, 1.0))

    for _ in range(PAIRS):
        centre, angle = rng.uniform(12, TILE_PX - 12, 2), rng.uniform(0, 360)
        along, across = (
            np.array([np.cos(a), np.sin(a)]) for a in np.deg2rad([angle, angle + 90])
        )
        # From the middle of the bar, or from either end of it.
        shift = 0.0 if label else 5.0 * rng.choice([-1, 1])
        draw(centre, angle)
        draw(centre + 8 * across + shift * along, angle + 90 + rng.normal(0, 8))
    for _ in range(SINGLES):
        draw(rng.uniform(4, TILE_PX - 4, 2), rng.uniform(0, 360))
    return stain_nuclei(nuclei, stain, rng)


def run_plain_densenet(tiles: Any) -> Any:
    """Build the same network without orientations."""
    layers = keras.layers

    def norm_relu(maps: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(maps))

    def convolve(maps: Any, channels: int, size: int) -> Any:
        return layers.Conv2D(
            channels, size, use_bias=False, kernel_initializer="he_normal"
        )(maps)

    x, width = convolve(tiles, FIRST, 3), FIRST
    for block in range(1, BLOCKS + 1):
        grown = convolve(norm_relu(x), GROWTH, 3)
        x = layers.Concatenate()([layers.Cropping2D(1)(x), grown])
        width += GROWTH
        if block < BLOCKS:
            x = convolve(layers.AveragePooling2D(2)(norm_relu(x)), width, 1)
    return norm_relu(x)


NETWORKS = {"p4m": run_p4m_densenet, "plain": run_plain_densenet}


def build(name: str, seed: int) -> Any:
    keras.utils.set_random_seed(seed)
    tiles = keras.Input((TILE_PX, TILE_PX, 3), dtype="float32")
    features = NETWORKS[name](preprocess(tiles, SIGNED_UNIT))
    encoder = keras.Model(tiles, features, name=name)
    return build_classifier(encoder, n_classes=2, dropout=0.0, seed=seed)


def train(model: Any, made: MadeSet, n_train: int, config: TuneFit) -> int:
    """Train a model in place; return its best epoch."""
    source = PixelTiles(
        lambda rows: made.pixels[rows], len(made.pixels), augment=Augmentation(0.0)
    )
    rows = np.arange(len(made.pixels))
    tiles = TrainingTiles(
        made.labels, made.slides, rows[:n_train], rows[n_train:], ("l", "t")
    )
    batches = TileBatches(model, source, tiles, config)
    return run_epochs(batches, "fine_tune").best.epoch


def score_views(model: Any, pixels: Pixels) -> NDArray[np.float64]:
    """Give the logits of every view, `(views, tiles)`."""
    return np.stack(
        [
            model.predict(apply_view(pixels, view), batch_size=32, verbose=0)[:, 0]
            for view in range(N_VIEWS)
        ]
    ).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=160)
    parser.add_argument("--val", type=int, default=64)
    parser.add_argument("--test", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    options = parser.parse_args()
    if any(n % PER_SLIDE for n in (options.train, options.val, options.test)):
        parser.error(f"--train, --val and --test must be multiples of {PER_SLIDE}")
    test = make_set(options.test, 10_000)
    runs = []
    for seed in range(options.seeds):
        made = make_set(options.train + options.val, seed)
        config = TuneFit(
            depth="all", batch_norm="trained", epochs=options.epochs,
            batch=options.batch, learning_rate=options.learning_rate, patience=None,
            monitor="val_loss", seed=seed,
        )  # fmt: skip
        for name in options.networks:
            model = build(name, seed)
            started, cpu = time.perf_counter(), time.process_time()
            best = train(model, made, options.train, config)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            views = score_views(model, test.pixels)
            probabilities = 1 / (1 + np.exp(-views))
            run = {
                "network": name,
                "seed": seed,
                "parameters": model.count_params(),
                "best_epoch": best,
                "test_auc": round(roc_auc_score(test.labels, views[0]), 4),
                "test_auc_8_views": round(
                    roc_auc_score(test.labels, probabilities.mean(0)), 4
                ),
                "largest_change_of_logit": float(np.ptp(views, axis=0).max()),
                "mean_change_of_probability": float(np.ptp(probabilities, 0).mean()),
                "training_seconds": round(seconds, 1),
                "training_cpu_seconds": round(cpu, 1),
            }
            print(json.dumps(run), flush=True)
            runs.append(run)
    summary = {
        name: {
            key: statistics.mean(run[key] for run in runs if run["network"] == name)
            for key in ("test_auc", "test_auc_8_views", "training_cpu_seconds")
        }
        for name in options.networks
    }
    print(json.dumps({"options": vars(options), "runs": runs, "means": summary}))


if __name__ == "__main__":
    main()
