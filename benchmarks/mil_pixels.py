"""Multiple-instance learning from pixels on real tiles, beside frozen features.

    python benchmarks/mil_pixels.py DATA WEIGHTS OUT [--encoders smallcnn mobilenetv2]

DATA is a folder with `slides.csv` (slide_id, patient_id, path, annotation, label),
WEIGHTS MobileNetV2's. Slides are tiled (96 px at 1 micrometre per pixel), and 120 bags
of 10 tiles are drawn, half of them with 5 witnesses, in 4 folds by patient. Each fold
is held out once, the next one validates; every line below is scored on all 120 bags:

pixels         the encoder is trained with gated attention (`PixelTraining`)
features       the same bags, folds and method on features of the same encoder with the
               same first weights, not fine-tuned
dealt labels   pixels again, with bag labels dealt at random: must fall to chance
colour         logistic regression on a bag's mean red, green and blue

The AUC's interval is over bags, which share patients; how far the folds are apart says
more of other patients. Beside it: how well attention tells witnesses within positive
bags, and, for pixels, all tiles of each slide as one bag, by the fold that held the
slide's patient out (interval over patients). Nothing that OUT holds is done again;
OUT/figures.json grows as results come.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eosin.bags import Bag, read_bag_table, write_bag_table
from eosin.core import read_json, write_json
from eosin.inference import score_bag
from eosin.prediction.scorer import TilePixels
from eosin.runs.run import read_run
from eosin.settings import (
    BagSettings,
    BagTraining,
    EmbedSettings,
    PixelTraining,
    TilingSettings,
)
from eosin.tiles.folder import TileFolder, open_tile_folder
from eosin.workflows.bags import make_bags
from eosin.workflows.embed import embed_tiles
from eosin.workflows.evaluate import evaluate
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import train as train_model

CLASSES = ("normal", "tumor")
COLOURS = ["mean_red", "mean_green", "mean_blue"]
# Of each encoder: its first weights, and epochs that fit a few minutes of one core.
ENCODERS = {"smallcnn": ("none", 30), "mobilenetv2": ("file", 6)}


def make_data(data: Path, out: Path, bags: BagSettings) -> TileFolder:
    """Tile the slides, draw bags, and deal their labels anew in a second table."""
    tile = TilingSettings(mpp=1.0, tile_px=96, classes=("normal=Normal", "tumor=Tumor"))
    tile_cohort(data / "slides.csv", out / "tiles", tile, workers=1)
    make_bags(out / "tiles", out / "bags", bags)
    table, info = read_bag_table(out / "bags" / "bags.parquet")
    rng = np.random.default_rng(1)
    parts = []
    for _, side in table.groupby("split", sort=False):
        names = side["bag_id"].unique()
        is_positive = rng.permutation(np.arange(len(names)) % 2 == 1)
        dealt = side["bag_id"].map(dict(zip(names, is_positive, strict=True)))
        # As many tiles as before are called witnesses, whatever they show.
        called = dealt & (side["position"] < bags.witnesses[0])
        parts.append(
            side.assign(
                label=dealt.astype(np.int8),
                n_witnesses=dealt.astype(np.int32) * bags.witnesses[0],
                is_witness=called,
            )
        )
    (out / "dealt").mkdir(exist_ok=True)
    write_bag_table(out / "dealt" / "bags.parquet", pd.concat(parts), info)
    return open_tile_folder(out / "tiles")


def describe(run: Path, bags: Path) -> dict[str, Any]:
    """Collect a run's held-out AUC, that of its folds, and its attention's."""
    metrics = evaluate(run).metrics["bag"]["roc_auc"]
    found = read_run(run)
    held = found.held_out[found.held_out["split"] == "test"]
    folds = [
        round(float(roc_auc_score(own["label"], own["logit_0"])), 3)
        for _, own in held.groupby("fold")
    ]
    table, _ = read_bag_table(bags / "bags.parquet")
    aucs = []
    for name, own in table[table["label"] == 1].groupby("bag_id"):
        attention = pd.read_csv(run / "attention" / f"{name}.csv")
        attention = attention.sort_values("instance")["attention"]
        if attention.min() < attention.max():
            aucs.append(roc_auc_score(own["is_witness"], attention))
    return {
        "bag_auc": [round(metrics[k], 3) for k in ("value", "low", "high")],
        "bags": metrics["n"],
        "by_fold": folds,
        "attention_on_witnesses": round(float(np.mean(aucs)), 3) if aucs else None,
        "train_seconds": read_json(run / "run.json")["wall_seconds"],
    }


def score_slides(run: Path, folder: TileFolder) -> dict[str, Any]:
    """Let the fold that held a slide's patient out see all of its tiles as one bag."""
    found = read_run(run)
    held = found.splits[found.splits["split"] == "test"]
    fold_of = dict(zip(held["slide_id"], held["fold"], strict=True))
    heads = iter(found.open_heads())
    models = [[next(heads) for _ in fold.models] for fold in found.card.folds]
    rows = []
    started = time.monotonic()
    with folder.open_reader() as reader:
        for slide in folder.slides.to_dict("records"):
            fold = fold_of.get(str(slide["slide_id"]))
            if fold is None:
                continue
            own = folder.tiles[folder.tiles["slide_id"] == slide["slide_id"]]
            pixels = TilePixels(reader.read, own.index.to_numpy(), folder.info.tile_px)
            bag = Bag(bag_id=str(slide["slide_id"]), features=pixels)
            logits = [p.logits[0] for p in score_bag(models[fold], bag)]
            told = dict(slide, score=np.mean(logits), tiles=len(own))
            rows.append(told)
    table = pd.DataFrame(rows)
    truth = table["label"] == CLASSES[1]
    seconds = time.monotonic() - started
    return {
        "slides": len(table),
        "tiles": int(table["tiles"].sum()),
        "auc": round(float(roc_auc_score(truth, table["score"])), 3),
        "interval": bootstrap(table.assign(truth=truth)),
        "tiles_per_second": round(float(table["tiles"].sum()) / seconds, 1),
    }


def bootstrap(table: pd.DataFrame, n: int = 2000) -> list[float]:
    """Give the 95 % interval of slides' AUC, drawn by patient."""
    groups = [own for _, own in table.groupby("patient_id")]
    rng = np.random.default_rng(0)
    aucs = []
    for _ in range(n):
        drawn = pd.concat(
            [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        )
        if drawn["truth"].nunique() == 2:
            aucs.append(roc_auc_score(drawn["truth"], drawn["score"]))
    return [round(float(q), 3) for q in np.quantile(aucs, (0.025, 0.975))]


def score_colour(folder: TileFolder, bags: Path) -> dict[str, Any]:
    """Score bags by their mean colour in the same folds; validation trains, too."""
    table, _ = read_bag_table(bags / "bags.parquet")
    colours = folder.tiles.set_index("tile_id")[COLOURS].loc[table["tile_id"]]
    table = table.assign(**{name: colours[name].to_numpy() for name in COLOURS})
    means = table.groupby("bag_id")[[*COLOURS, "label"]].mean()
    side = table.groupby("bag_id")["split"].first()
    folds, scores = [], pd.Series(0.0, means.index)
    for name in sorted(side.unique()):
        is_own = side == name
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(means.loc[~is_own, COLOURS], means.loc[~is_own, "label"])
        told = model.decision_function(means.loc[is_own, COLOURS])
        scores[is_own] = told
        folds.append(round(float(roc_auc_score(means.loc[is_own, "label"], told)), 3))
    pooled = round(float(roc_auc_score(means["label"], scores)), 3)
    return {"bag_auc": [pooled, None, None], "bags": len(means), "by_fold": folds}


def main() -> None:
    """Run what is not there yet and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("data", "weights", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--bags", type=int, default=120)
    words = parser.parse_args()
    out: Path = words.out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "figures.json"
    figures: dict[str, Any] = read_json(path) if path.exists() else {}
    bags = BagSettings(n_bags=words.bags, size=10, witnesses=(5,), folds=4)
    folder = make_data(words.data, out, bags)

    def keep(key: str, found: dict[str, Any]) -> None:
        figures[key] = found
        write_json(path, figures)
        print(key, figures[key], flush=True)

    if "colour" not in figures:
        keep("colour", score_colour(folder, out / "bags"))
    for encoder in words.encoders:
        for name, work in list_work(encoder, words.weights, out, folder).items():
            if f"{encoder}, {name}" not in figures:
                keep(f"{encoder}, {name}", work())


def list_work(
    encoder: str, weights: Path, out: Path, folder: TileFolder
) -> dict[str, Callable[[], dict[str, Any]]]:
    """List what is measured of one encoder."""
    kind, epochs = ENCODERS[encoder]
    first = str(weights) if kind == "file" else kind
    config = PixelTraining(encoder=encoder, weights=first, epochs=epochs)

    def train(source: str) -> dict[str, Any]:
        run = out / f"{encoder}_{source}"
        train_model(out / source, run, config, tiles=out / "tiles")
        return describe(run, out / source)

    def train_beside() -> dict[str, Any]:
        features, run = out / f"{encoder}_features", out / f"{encoder}_on_features"
        embed = EmbedSettings(encoder=encoder, weights=first)
        # The training finds the tiles encoded, so that its seconds are its own.
        embed_tiles(out / "tiles", features, embed)
        settings = BagTraining(encoder=encoder, weights=first)
        train_model(out / "bags", run, settings)
        return describe(run, out / "bags")

    return {
        "pixels": lambda: train("bags"),
        "pixels, whole slides": lambda: score_slides(out / f"{encoder}_bags", folder),
        "features": train_beside,
        "dealt labels": lambda: train("dealt"),
    }


if __name__ == "__main__":
    main()
