"""Where Grad-CAM's energy lies, on made patches that their centre alone decides.

    python benchmarks/grad_cam_centre.py [--seeds 3] [--set alone|among] [--out FILE]
    python benchmarks/grad_cam_centre.py --encoder mobilenetv2 --weights FILE

Patches of 96 px, as PatchCamelyon's: positive where tumour nuclei (large, dark,
crowded) lie in the central 32 px. In the set `alone` there are none anywhere else; in
`among` a crowd of them lies outside the centre in half of the patches of either class,
so that only the place tells the classes apart. The small CNN is trained from scratch,
another encoder is frozen under a logistic regression. Then, for positive held-out
patches that were called so: the share of the map's energy (its sum) in the central 32
px, 11.1 % by chance, and how often the map is highest there, by default and at each
resolution that the network has. Beside it stands what a perfect map of as many cells
would reach, since enlarging a coarse map smears it. The control is a network trained on
labels that have nothing to do with the patches.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from made_stain import draw_nucleus, stain_nuclei
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from eosin.core import write_json
from eosin.models import build_classifier, build_encoder, grad_cam
from eosin.models.grad_cam import list_feature_maps
from eosin.settings import TuneFit
from eosin.studies.tile_learner import Augmentation
from eosin.training import PixelTiles, TrainingTiles
from eosin.training.loop import run_epochs
from eosin.training.tile_training import TileBatches

TILE_PX, CENTRE_PX = 96, 32
LOW, HIGH = (TILE_PX - CENTRE_PX) // 2, (TILE_PX + CENTRE_PX) // 2
PER_SLIDE = 20
MAX_CELLS = 24
VARIANTS = ("grad_cam", "grad_cam_plus_plus")

Pixels = NDArray[np.uint8]
Maps = NDArray[np.float32]


def make_set(n: int, seed: int, kind: str) -> tuple[Pixels, NDArray[np.int64]]:
    """Draw patches of both classes, half and half."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    stains = rng.uniform(0.7, 1.2, (n // PER_SLIDE + 1, 2))
    pixels = np.stack(
        [
            draw_patch(int(label), stains[i // PER_SLIDE], kind, rng)
            for i, label in enumerate(labels)
        ]
    )
    return pixels, labels


def draw_patch(
    label: int, stain: NDArray[Any], kind: str, rng: np.random.Generator
) -> Pixels:
    """Draw small round nuclei everywhere, and a crowd of large ones or two."""
    nuclei = np.zeros((TILE_PX, TILE_PX), np.float32)

    def draw(centre: NDArray[Any], axes: tuple[float, float], depth: float) -> None:
        draw_nucleus(nuclei, centre, axes, rng.uniform(0, 360), depth)

    for _ in range(rng.integers(25, 45)):
        size = rng.uniform(4, 6)
        draw(rng.uniform(0, TILE_PX, 2), (size, size), rng.uniform(0.5, 0.8))

    def crowd(middle: NDArray[Any]) -> None:
        for _ in range(rng.integers(7, 11)):
            axes = (rng.uniform(8, 12), rng.uniform(6, 9))
            draw(middle + rng.uniform(-10, 10, 2), axes, rng.uniform(0.7, 1.0))

    if label:
        crowd(np.full(2, TILE_PX / 2) + rng.uniform(-2, 2, 2))
    if kind == "among" and rng.random() < 0.5:
        # Wholly outside the centre, along one of the four sides.
        along, across = rng.uniform(16, 80), rng.choice([12, TILE_PX - 12])
        crowd(rng.permutation([along, across]))
    return stain_nuclei(nuclei, stain, rng)


def train(options: argparse.Namespace, data: Any, seed: int) -> Any:
    """Train the small CNN from scratch, or a head on another encoder."""
    pixels, labels, n_train = data
    encoder = build_encoder(
        options.encoder, tile_px=TILE_PX, weights=options.weights, seed=seed
    )
    model = build_classifier(encoder, n_classes=2, dropout=0.0, seed=seed)
    if options.weights != "none":
        features = encoder.predict(pixels.astype(np.float32), batch_size=64, verbose=0)
        fitted = LogisticRegression(C=0.1, max_iter=2000)
        fitted.fit(features.mean(axis=(1, 2))[:n_train], labels[:n_train])
        model.get_layer("logits").set_weights([fitted.coef_.T, fitted.intercept_])
        return model
    slides = np.array([f"S{i // PER_SLIDE}" for i in range(len(labels))])
    rows = np.arange(len(labels))
    tiles = TrainingTiles(
        labels, slides, rows[:n_train], rows[n_train:], ("normal", "tumour")
    )
    source = PixelTiles(
        lambda wanted: pixels[wanted], len(pixels), augment=Augmentation(0.0)
    )
    config = TuneFit(
        depth="all", batch_norm="trained", epochs=options.epochs, batch=32,
        learning_rate=options.learning_rate, patience=None, monitor="val_loss",
        seed=seed,
    )  # fmt: skip
    run_epochs(TileBatches(model, source, tiles, config), "fine_tune")
    return model


def measure_centre(maps: Maps) -> dict[str, float]:
    """Find the share of the energy in the centre, and how often the top is there."""
    totals = maps.sum(axis=(1, 2))
    kept = maps[totals > 0]
    inner = kept[:, LOW:HIGH, LOW:HIGH]
    shares = inner.sum(axis=(1, 2)) / kept.sum(axis=(1, 2))
    tops = inner.max(axis=(1, 2)) >= kept.max(axis=(1, 2))
    if not len(kept):
        return {"energy": float("nan"), "top": float("nan"), "empty": 1.0}
    return {
        "energy": round(float(shares.mean()), 4),
        "top": round(float(tops.mean()), 4),
        "empty": round(float((totals <= 0).mean()), 4),
    }


def find_ceiling(n_cells: int) -> float:
    """Find the share of a map whose cells say how much of them is in the centre."""
    edges = np.clip(np.linspace(0, TILE_PX, n_cells + 1), LOW, HIGH)
    line = np.diff(edges).astype(np.float32)
    coarse = np.outer(line, line)
    fine = cv2.resize(coarse, (TILE_PX, TILE_PX), interpolation=cv2.INTER_LINEAR)
    return round(float(fine[LOW:HIGH, LOW:HIGH].sum() / fine.sum()), 4)


def measure_layers(model: Any, pixels: Pixels) -> list[dict[str, Any]]:
    """Measure the default, and the last layer of each resolution."""
    tiles = pixels.astype(np.float32)
    layers: dict[int, str] = {}
    for found in list_feature_maps(model):
        size = found.n_cells
        is_activation = any(word in found.name for word in ("relu", "activation"))
        if size <= MAX_CELLS and (is_activation or size not in layers):
            layers[size] = found.name
    rows = []
    for variant in VARIANTS:
        maps = grad_cam(model, tiles, 1, variant)
        rows.append({"layer": "default", "variant": variant, **measure_centre(maps)})
        for cells, layer in layers.items():
            maps = grad_cam(model, tiles, 1, variant, layer=layer)
            rows.append(
                {
                    "layer": layer,
                    "cells": cells,
                    "ceiling": find_ceiling(cells),
                    "variant": variant,
                    **measure_centre(maps),
                }
            )
    return rows


def run_one(options: argparse.Namespace, seed: int, *, is_control: bool) -> Any:
    """Train and measure once."""
    n = options.train + options.val
    pixels, labels = make_set(n, seed, options.set)
    if is_control:
        # Half of either class bears either label, so that nothing is left to learn.
        half = np.arange(n) // 2 % 2
        rng = np.random.default_rng(seed)
        for label in (0, 1):
            half[labels == label] = rng.permutation(half[labels == label])
        labels = half
    started = time.perf_counter()
    model = train(options, (pixels, labels, options.train), seed)
    seconds = time.perf_counter() - started
    test, truth = make_set(options.test, 10_000 + seed, options.set)
    logits = model.predict(test.astype(np.float32), batch_size=64, verbose=0)[:, 0]
    # Of the control those are taken that it ranks highest: it calls by chance.
    cut = np.median(logits) if is_control else 0.0
    return {
        "seed": seed,
        "labels": "shuffled" if is_control else "true",
        "auc": round(float(roc_auc_score(truth, logits)), 4),
        "training_seconds": round(seconds, 1),
        "n_maps": int(((truth == 1) & (logits > cut)).sum()),
        "maps": measure_layers(model, test[(truth == 1) & (logits > cut)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("alone", "among"), default="alone")
    parser.add_argument("--encoder", default="smallcnn")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=1200)
    parser.add_argument("--val", type=int, default=200)
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    runs = []
    for seed in range(options.seeds):
        for is_control in (False, True):
            run = run_one(options, seed, is_control=is_control)
            runs.append(run)
            print(json.dumps({k: v for k, v in run.items() if k != "maps"}), flush=True)
            for row in run["maps"]:
                print("   ", json.dumps(row), flush=True)
            if options.out is not None:
                settings = {k: str(v) for k, v in vars(options).items()}
                chance = CENTRE_PX**2 / TILE_PX**2
                content = {"options": settings, "chance": chance, "runs": runs}
                write_json(options.out, content)


if __name__ == "__main__":
    main()
