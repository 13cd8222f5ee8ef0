"""Multiple-instance learning from slide labels alone, end to end, against annotations.

    python benchmarks/mil_prostate.py DATA WEIGHTS OUT [--aggregators gated_attention]

DATA is a folder with `slides.csv` (slide_id, patient_id, path, annotation, label),
WEIGHTS the encoder's. What a model learns from is the table without its annotations:
`tile` (224 px at 1 micrometre per pixel), `embed`, `train` (folds by patient),
`evaluate`, `predict`. The annotations come in at the very end, when tiles are
labelled by the area that polygons cover (half or more is tumour, nothing is normal,
between is left out), to ask on tumour slides whether attention finds the tumour:

attention      by the models of the fold that held the slide out, their mean
tile score     what the method says of each tile by itself, likewise
both           the product of the two: attention times the tile's logit
colour         mean red, green and blue of a slide, by the same folds

The instance AUC is taken within each tumour slide and averaged; its interval is over
patients. Nothing that OUT holds already is done again. OUT/figures.json grows as
results come.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from eosin.bags import read_slide_bag
from eosin.core import read_json, write_json
from eosin.evaluation import read_predictions
from eosin.inference import score_bag
from eosin.runs.run import read_run
from eosin.settings import (
    BagTraining,
    EmbedSettings,
    TilingSettings,
)
from eosin.tiles import read_manifest
from eosin.workflows.embed import embed_tiles
from eosin.workflows.evaluate import evaluate
from eosin.workflows.predict import predict
from eosin.workflows.tile import tile_cohort
from eosin.workflows.train import train

CLASSES = ("normal", "tumor")
LOWEST_FRACTION = 0.5


def write_tables(data: Path, out: Path) -> tuple[Path, Path]:
    """Write the slide table without annotations, and with them."""
    table = pd.read_csv(data / "slides.csv")
    for column in ("path", "annotation"):
        known = table[column].notna()
        table.loc[known, column] = f"{data.resolve()}/" + table.loc[known, column]
    labels, whole = out / "labels.csv", out / "annotated.csv"
    table.drop(columns="annotation").to_csv(labels, index=False)
    table.to_csv(whole, index=False)
    return labels, whole


def label_tiles(whole: Path, out: Path, tile: TilingSettings) -> pd.DataFrame:
    """Label the tiles by their area, which no model has seen."""
    tile_cohort(whole, out, tile, workers=1)
    tiles, _ = read_manifest(out / "tiles.parquet")
    fraction = tiles["tumor_fraction"].fillna(0).to_numpy()
    truth = np.where(fraction >= LOWEST_FRACTION, 1, np.where(fraction > 0, -1, 0))
    return tiles[["slide_id", "patient_id", "x_px0", "y_px0"]].assign(truth=truth)


def score_instances(run: Path, features: Path) -> pd.DataFrame:
    """Let the models of the fold that held a slide out score its tiles."""
    found = read_run(run)
    heads = iter(found.open_heads())
    parts = []
    for fold, card in enumerate(found.card.folds):
        models = [next(heads) for _ in card.models]
        held = found.splits
        own = held[(held["fold"] == fold) & (held["split"] == "test")]
        for slide_id in own["id"]:
            bag = read_slide_bag(features / f"{slide_id}.h5")
            told = score_bag(models, bag)
            attention = np.mean([p.attention for p in told], axis=0) * len(bag)
            part = pd.DataFrame(bag.coords, columns=["x_px0", "y_px0"])
            part["slide_id"], part["attention"] = slide_id, attention
            if told[0].instance_logits is not None:
                part["tile score"] = np.mean(
                    [p.instance_logits[:, 0] for p in told], axis=0
                )
                part["both"] = part["attention"] * part["tile score"]
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def compare(scored: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """Compare tiles' scores with the annotations, slide by slide."""
    table = scored.merge(truth, on=["slide_id", "x_px0", "y_px0"], validate="1:1")
    known = table[table["truth"] >= 0]
    mixed = known.groupby("slide_id")["truth"].nunique() == 2
    known = known[known["slide_id"].isin(mixed[mixed].index)]
    patient = known.groupby("slide_id")["patient_id"].first()
    figures: dict[str, Any] = {
        "tumour_slides": int(mixed.sum()),
        "tiles": len(known),
        "share_of_tumour_tiles": round(float(known["truth"].mean()), 3),
    }
    for name in ("attention", "tile score", "both"):
        if name not in known:
            continue
        aucs = known.groupby("slide_id")[["truth", name]].apply(
            lambda own, name=name: roc_auc_score(own["truth"], own[name])
        )
        figures[name] = {
            "mean_auc": round(float(aucs.mean()), 3),
            "interval": bootstrap(aucs, patient),
            "lowest": round(float(aucs.min()), 3),
            "lowest_slide": str(aucs.idxmin()),
        }
    top = known.sort_values("attention").groupby("slide_id").tail(5)
    figures["tumour_among_five_most_attended"] = round(float(top["truth"].mean()), 3)
    return figures


def bootstrap(values: pd.Series, patient: pd.Series, n: int = 2000) -> list[float]:
    """Give the 95 % interval of a mean over slides, drawn by patient."""
    groups = [own.to_numpy() for _, own in values.groupby(patient)]
    rng = np.random.default_rng(0)
    means = [
        np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        for _ in range(n)
    ]
    low, high = np.quantile([m.mean() for m in means], (0.025, 0.975))
    return [round(float(low), 3), round(float(high), 3)]


def main() -> None:
    """Run what is asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="densenet121")
    parser.add_argument("--aggregators", nargs="+", default=["gated_attention"])
    parser.add_argument("--contexts", nargs="+", type=float, default=[1.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    figures_path = words.out / "figures.json"
    figures = read_json(figures_path) if figures_path.exists() else {}
    labels, whole = write_tables(words.data, words.out)
    for context in words.contexts:
        name = f"{context:g}"
        tile = TilingSettings(mpp=1.0, tile_px=224, context=context)
        tile_cohort(labels, words.out / f"tiles_{name}", tile, workers=1)
        features = words.out / f"features_{name}"
        embed = EmbedSettings(encoder=words.encoder, weights=str(words.weights))
        embed_tiles(words.out / f"tiles_{name}", features, embed)
        truth = label_tiles(whole, words.out / f"annotated_{name}", tile)
        for aggregator in words.aggregators:
            for seed in words.seeds:
                key = f"context {name}, {aggregator}, seed {seed}"
                if key in figures:
                    continue
                figures[key] = run_once(
                    features, labels, truth, words.out, aggregator, seed
                )
                write_json(figures_path, figures)
    for key, found in figures.items():
        print(key, found)


def run_once(
    features: Path,
    labels: Path,
    truth: pd.DataFrame,
    out: Path,
    aggregator: str,
    seed: int,
) -> dict[str, Any]:
    """Train, evaluate, predict and compare once."""
    started = time.monotonic()
    place = out / f"{features.name}_{aggregator}_{seed}"
    config = BagTraining(classes=CLASSES, aggregator=aggregator, seed=seed)
    train(features, place / "run", config, cohort=labels)
    seconds = time.monotonic() - started
    result = evaluate(place / "run")
    predict(place / "run", [features], place / "out")
    found: dict[str, Any] = {"train_seconds": round(seconds, 1)}
    for level, metrics in result.metrics.items():
        auc, n = metrics["roc_auc"], metrics["roc_auc"]["n"]
        found[level] = [round(auc[k], 3) for k in ("value", "low", "high")] + [n]
    baseline = result.baseline.get("slide", {}).get("roc_auc")
    if baseline:
        found["slide, colour"] = [
            round(baseline[k], 3) for k in ("value", "low", "high")
        ]
    table, _ = read_predictions(place / "run" / "evaluation" / "predictions.parquet")
    found["patients"] = int(table["patient_id"].nunique())
    return found | {
        "instances": compare(score_instances(place / "run", features), truth)
    }


if __name__ == "__main__":
    main()
