"""What a split at random costs: one model, three ways to hold tiles out.

    python benchmarks/leakage.py IMAGES --weights FILE [--whole] [--out FILE]

IMAGES are the osteosarcoma images, 1024 px, `<class>___<case>-<block>-<x>-<y>_<n>.jpg`.
Each is cut into 16 tiles of 256 px, and a frozen encoder runs over all of them once. A
head is fitted on one half of the tiles (`fit_head`) and scores the other half, and the
reverse; `--whole` goes through `train` and `evaluate` instead, which
agree closely (seed 0: 0.890 for both at random, 0.753 and 0.754 by case) and take
minutes. The halves are two cases each, or whole images at random, or tiles at random.
The random halves have as many tiles of each class as those of cases, so that nothing
differs but who is on both sides. (Of the four cases only these two pairs have all three
classes on both sides.)

eosin splits by patient and has no option not to. Here the slide table is rewritten, so
that each tile passes for a patient with a split of its own: it is what a study does
whose table has no patients.
"""

import argparse
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from eosin.evaluation import compute_probabilities, read_predictions
from eosin.inference import encode_tiles, open_session
from eosin.models import (
    build_classifier,
    build_encoder,
    build_stem,
    export_onnx,
    split_model,
)
from eosin.settings import ImportSettings, TileTraining
from eosin.tiles import read_manifest, write_manifest
from eosin.tiles.folder import open_tile_folder
from eosin.training import TrainingTiles, fit_head
from eosin.workflows.evaluate import evaluate
from eosin.workflows.import_patches import import_patches
from eosin.workflows.train import train

NAME = re.compile(r"(?P<label>.+)___(?P<block>.+?)-\d+-\d+_\d+")
DESIGNS = ("tile", "image", "case")
TUMOUR = ("Viable", "Non-Viable-Tumor")
# The only two pairs of cases that both have all three classes.
HALF = ("Case-3", "Case-48-P5")
VALIDATION = 0.2
RESAMPLES = 200


def cut_images(source: Path, out: Path, size_px: int) -> None:
    for path in sorted(source.glob("*.jpg")):
        found = NAME.fullmatch(path.stem)
        image = cv2.imread(str(path))
        if found is None or image is None:
            raise SystemExit(f"{path}: no osteosarcoma image")
        place = out / found["label"]
        place.mkdir(parents=True, exist_ok=True)
        for row in range(image.shape[0] // size_px):
            for column in range(image.shape[1] // size_px):
                y, x = row * size_px, column * size_px
                tile = image[y : y + size_px, x : x + size_px]
                cv2.imwrite(str(place / f"{path.stem}.{row}-{column}.png"), tile)


def prepare(source: Path, folder: Path, size_px: int, tile_px: int) -> pd.DataFrame:
    """Import the tiles, each as a slide by itself; return whose each one is."""
    cut_images(source, folder / "set", size_px)
    imported = folder / "imported"
    config = ImportSettings(
        layout="folder", negative="Non-Tumor", tile_px=tile_px, measures=True
    )
    import_patches(folder / "set", imported, config)
    tiles, info = read_manifest(imported / "tiles.parquet")
    image = tiles["tile_id"].str.rsplit("/", n=1).str[-1].str.rsplit(".", n=1).str[0]
    block = image.map(lambda name: NAME.fullmatch(name)["block"])
    owners = pd.DataFrame(
        {
            "tile": tiles["tile_id"],
            "image": image,
            "block": block,
            # Case-3-A15, Case-48-P5-C18, P9-B12.
            "case": block.str.rsplit("-", n=1).str[0],
            "label": tiles["label"].astype(int),
        }
    )
    # One table for all designs; what is kept together the slide table says.
    tiles = tiles.assign(slide_id=tiles["tile_id"], patient_id=tiles["tile_id"])
    (folder / "shared").mkdir()
    write_manifest(
        folder / "shared" / "tiles.parquet",
        tiles,
        replace(info, grouping="given", cautions=()),
    )
    write_slides(folder, folder / "shared", owners, None)
    return owners


def divide(owners: pd.DataFrame, design: str, seed: int) -> list[pd.Series]:
    """Give each tile its split, in two folds that test each other's training half."""
    rng = np.random.default_rng(seed)
    is_first = owners["case"].isin(HALF)
    # As many images of each class as the two cases have, or as many tiles.
    unit = owners["tile" if design == "tile" else "image"]
    if design != "case":
        chosen: list[str] = []
        for label in sorted(owners["label"].unique()):
            own = owners["label"] == label
            n = unit[own & is_first].nunique()
            chosen += rng.permutation(sorted(unit[own].unique()))[:n].tolist()
        is_first = unit.isin(chosen)
    folds = []
    for is_test in (is_first, ~is_first):
        rest = rng.permutation(sorted(unit[~is_test].unique()))
        validates = unit.isin(rest[: round(len(rest) * VALIDATION)])
        split = np.where(is_test, "test", np.where(validates, "val", "train"))
        folds.append(pd.Series(split))
    return folds


def write_slides(
    folder: Path, out: Path, owners: pd.DataFrame, split: pd.Series | None
) -> None:
    """Write a slide table in which each tile passes for a patient."""
    pd.DataFrame(
        {
            "slide_id": owners["tile"],
            "patient_id": owners["tile"],
            "path": str((folder / "set").resolve()),
            "label": None,
            "mpp_used": None,
            "split": split,
            "n_tiles": 1,
        }
    ).to_csv(out / "slides.csv", index=False)


def hold_out(
    folder: Path, owners: pd.DataFrame, design: str, config: TileTraining
) -> pd.DataFrame:
    """Train and evaluate both halves; return the prediction of every tile."""
    parts = []
    for fold, split in enumerate(divide(owners, design, config.seed)):
        place = folder / f"{design}-{config.seed}-{fold}"
        (place / "tiles").mkdir(parents=True)
        shutil.copy(folder / "shared" / "tiles.parquet", place / "tiles")
        write_slides(folder, place / "tiles", owners, split)
        train(place / "tiles", place / "run", config)
        evaluate(place / "run", n_bootstrap=20)
        table, _ = read_predictions(place / "run/evaluation/predictions.parquet")
        parts.append(table[table["level"] == "tile"].assign(fold=fold))
        shutil.rmtree(place)
    return pd.concat(parts, ignore_index=True)


class QuickHeads:
    """One encoder's features of all tiles, and heads fitted to halves of them."""

    def __init__(self, folder: Path, config: TileTraining) -> None:
        tiles = open_tile_folder(folder / "shared")
        encoder = build_encoder(
            config.encoder, tile_px=tiles.info.tile_px, weights=config.weights
        )
        self._classes = tiles.info.class_names
        self._classifier = build_classifier(
            encoder, n_classes=len(self._classes), dropout=config.dropout
        )
        export_onnx(build_stem(self._classifier, "head"), folder / "stem.onnx")
        with tiles.open_reader() as reader:
            self._features = encode_tiles(
                reader.read,
                len(tiles.tiles),
                open_session(folder / "stem.onnx"),
                folder / "features",
                key="",
            )["features"]
        self._head = split_model(self._classifier, "head")[1]
        self._initial = self._head.get_weights()

    def hold_out(
        self, owners: pd.DataFrame, design: str, config: TileTraining
    ) -> pd.DataFrame:
        """Return the prediction of every tile, each by the half it is not in."""
        labels = owners["label"].to_numpy(np.int64)
        names = owners["tile"].to_numpy(str)
        parts = []
        for fold, split in enumerate(divide(owners, design, config.seed)):
            rows = {name: np.flatnonzero(split == name) for name in split.unique()}
            tiles = TrainingTiles(
                labels, names, rows["train"], rows["val"], self._classes
            )
            self._head.set_weights(self._initial)
            fit_head(self._classifier, self._features, tiles, config)
            logits = self._head.predict(self._features[0, rows["test"]], verbose=0)
            found = compute_probabilities(np.asarray(logits))
            columns = {
                f"probability_{c}": found[:, i] for i, c in enumerate(self._classes)
            }
            held_out = {"id": names[rows["test"]], "label": labels[rows["test"]]}
            parts.append(pd.DataFrame({**held_out, **columns, "fold": fold}))
        return pd.concat(parts, ignore_index=True)


def find_aucs(table: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    """Take the mean over both halves, each scored by its own model."""
    halves = [find_half(half, classes) for _, half in table.groupby("fold")]
    return {name: float(np.mean([half[name] for half in halves])) for name in halves[0]}


def find_half(table: pd.DataFrame, classes: list[str]) -> dict[str, float]:
    labels = table["label"].to_numpy(np.int64)
    scores = table[[f"probability_{name}" for name in classes]].to_numpy()
    tumour = [classes.index(name) for name in TUMOUR]
    viable = classes.index("Viable")
    each = [roc_auc_score(labels == i, scores[:, i]) for i in range(len(classes))]
    return {
        "macro": float(np.mean(each)),
        "viable": float(roc_auc_score(labels == viable, scores[:, viable])),
        "tumour": float(
            roc_auc_score(np.isin(labels, tumour), scores[:, tumour].sum(axis=1))
        ),
    }


def find_intervals(table: pd.DataFrame, classes: list[str]) -> dict[str, list[float]]:
    """Resample whole images, in every design."""
    rng = np.random.default_rng(0)
    image = table["id"].str.rsplit("/", n=1).str[-1].str.rsplit(".", n=1).str[0]
    # Of a random split by tile an image has tiles in both halves.
    rows = list(table.groupby(image.to_numpy()).indices.values())
    drawn: list[dict[str, float]] = []
    while len(drawn) < RESAMPLES:
        chosen = rng.integers(len(rows), size=len(rows))
        part = table.iloc[np.concatenate([rows[i] for i in chosen])]
        if (part.groupby("fold")["label"].nunique() == len(classes)).all():
            drawn.append(find_aucs(part, classes))
    bounds = pd.DataFrame(drawn).quantile([0.025, 0.975]).round(4)
    return {name: bounds[name].tolist() for name in bounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--encoder", default="densenet121")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--tile-px", type=int, default=128)
    parser.add_argument("--designs", nargs="+", default=DESIGNS, choices=DESIGNS)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {"encoder": options.encoder, "designs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        owners = prepare(options.images, folder, options.size_px, options.tile_px)
        info = read_manifest(folder / "shared" / "tiles.parquet")[1]
        classes = list(info.class_names)
        result |= {"tiles": len(owners), "classes": classes}
        result |= {kind: int(owners[kind].nunique()) for kind in DESIGNS}
        heads = None
        for seed in range(options.seeds):
            for design in options.designs:
                config = TileTraining(
                    encoder=options.encoder,
                    weights=options.weights,
                    cached_views=1,
                    seed=seed,
                )
                if options.whole:
                    table = hold_out(folder, owners, design, config)
                else:
                    heads = heads or QuickHeads(folder, config)
                    table = heads.hold_out(owners, design, config)
                aucs = find_aucs(table, classes)
                intervals = find_intervals(table, classes)
                found = result["designs"].setdefault(design, [])
                found.append(
                    {
                        "seed": seed,
                        "n": len(table),
                        **{k: [round(aucs[k], 4), *intervals[k]] for k in aucs},
                    }
                )
                text = json.dumps(result, indent=2)
                print(design, found[-1], flush=True)
                if options.out is not None:
                    options.out.write_text(text)
    for design, found in result["designs"].items():
        for task in ("macro", "viable", "tumour"):
            values = [one[task][0] for one in found]
            result.setdefault("means", {}).setdefault(design, {})[task] = [
                round(float(np.mean(values)), 4),
                round(float(np.min(values)), 4),
                round(float(np.max(values)), 4),
            ]
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
