"""The recipes of `eosin train` on one set of class folders, and how `best` was chosen.

    python benchmarks/recipes.py IMAGES --weights FOLDER --out FILE [--work FOLDER]
        [--steps prepare study xception-baseline mobilenetv2-baseline ...]

IMAGES holds folders called like classes; FOLDER the weights of DenseNet121, Xception
and MobileNetV2, each file's name beginning with its encoder's. The images are imported,
explored and cleaned; then every recipe is trained in 5 folds, near-duplicates kept
together, and `evaluate` scores what each fold held out. Seconds are of the wall
clock and of this process's CPU.

`study` fits heads on features that were encoded once, for every candidate and fold, and
chooses on validation tiles alone: the candidate with the highest mean AUC over the
folds is the recipe `best`. Since one fold's validation tiles are held out by another,
that mean has seen every tile. So the study also chooses for each fold by this fold's
own validation tiles and scores the choice on what the fold held out: `nested` is what
choosing costs or gains on tiles that had no part in it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from eosin.core import Progress, load_config
from eosin.models import split_model
from eosin.settings import (
    RECIPES,
    CleanSettings,
    ExploreSettings,
    ImportSettings,
    TileTraining,
    load_with_recipe,
)
from eosin.studies.encoders import find_obstacle
from eosin.studies.splits import split_tiles
from eosin.studies.tile_inputs import TileInputs
from eosin.tiles.folder import TileFolder, open_tile_folder
from eosin.training import fit_head
from eosin.workflows.clean import clean_tiles
from eosin.workflows.evaluate import evaluate
from eosin.workflows.explore import explore_tiles
from eosin.workflows.import_patches import import_patches
from eosin.workflows.train import train

FOLDS = 5
STEPS = ("prepare", "study", *RECIPES)
_CYCLE: dict[str, Any] = {
    "batch": 32,
    "balance": "class",
    "learning_rate": 1e-2,
    "epochs": 20,
}
HEADS: dict[str, dict[str, Any]] = {
    "baseline": {
        "schedule": "constant",
        "balance": "none",
        "batch": 32,
        "epochs": 10,
    },
    "defaults of eosin train, 20 passes": {"epochs": 20},
    "one cycle to 0.003": {**_CYCLE, "learning_rate": 3e-3},
    "one cycle to 0.01": _CYCLE,
    "to 0.01, no balance": {**_CYCLE, "balance": "none"},
    "to 0.01, 40 epochs": {**_CYCLE, "epochs": 40},
    "to 0.01, 80 epochs": {**_CYCLE, "epochs": 80},
    "to 0.01, 40 epochs, dropout 0.25": {**_CYCLE, "epochs": 40, "dropout": 0.25},
    "to 0.01, weight decay 0.01": {**_CYCLE, "weight_decay": 1e-2},
    "to 0.01, mixup 0.2": {**_CYCLE, "mixup": 0.2},
    "to 0.01, average of weights": {**_CYCLE, "ema_decay": 0.98},
    "to 0.01, dropout 0.25": {**_CYCLE, "dropout": 0.25},
}


@contextmanager
def timed(result: dict[str, Any]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    result["wall_s"] = round(time.perf_counter() - wall, 1)
    result["cpu_s"] = round(time.process_time() - cpu, 1)


def prepare(images: Path, work: Path, negative: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with timed(found.setdefault("import", {})):
        config = ImportSettings(layout="folder", negative=negative)
        imported = import_patches(images, work / "imported", config)
    found["import"] |= {
        "tiles": imported.n_tiles,
        "groups": imported.n_groups,
        "classes": dict(imported.label_counts),
    }
    with timed(found.setdefault("explore", {})):
        explored = explore_tiles(work / "imported", work / "explore", ExploreSettings())
    found["explore"]["page"] = str(explored.folder / "report.html")
    with timed(found.setdefault("clean", {})):
        clean_tiles(work / "imported", work / "cleaned", CleanSettings())
    tiles = pd.read_parquet(work / "cleaned" / "tiles.parquet")
    found["clean"]["tiles"] = len(tiles)
    return found


def find_weights(folder: Path, encoder: str) -> str:
    return str(next(iter(sorted(folder.glob(f"{encoder}*.h5")))))


def run_recipe(
    name: str, tiles: Path, weights: Path, work: Path, settings: list[str]
) -> dict[str, Any]:
    """Train and evaluate a recipe; say how well and how long."""
    found: dict[str, Any] = {"train": {}, "evaluate": {}}
    folder = find_weights(weights, RECIPES[name].encoders[-1])
    given = {"weights": folder, "recipe": name, "folds": FOLDS}

    def load(defaults: Mapping[str, Any]) -> TileTraining:
        sources = {"overrides": settings, "given": given, "defaults": defaults}
        return load_config(TileTraining, **sources)

    config, remarks = load_with_recipe(load, find_obstacle)
    run = work / f"run-{name}"
    with timed(found["train"]):
        trained = train(tiles, run, config, progress=Progress())
    with timed(found["evaluate"]):
        evaluated = evaluate(run)
    level = evaluated.metrics["tile"]
    baseline = evaluated.baseline.get("tile", {})
    kept = ("roc_auc", "average_precision", "balanced_accuracy", "brier", "ece")
    return {
        "recipe": trained.card.recipe,
        "remarks": list(remarks),
        "validation_aucs": list(trained.validation_aucs),
        "metrics": {k: level[k] for k in kept if k in level},
        "colour_baseline": {k: baseline[k] for k in kept if k in baseline},
        **found,
    }


class Study:
    """Heads on cached features, each judged by validation and by what it held out."""

    def __init__(self, folder: TileFolder, base: TileTraining) -> None:
        self._base = base
        self._inputs = TileInputs(folder, split_tiles(folder, base), base, Progress())
        classifier = self._inputs.build()
        self._features = self._inputs.encode(classifier)["features"]
        self._labels = self._inputs.tiles["label"].to_numpy(np.int64)
        self._classifiers = {base.dropout: classifier}
        self._folder = folder

    def _build(self, config: TileTraining) -> Any:
        """Build a classifier once for each dropout, since building takes seconds."""
        if config.dropout not in self._classifiers:
            splits = split_tiles(self._folder, config)
            inputs = TileInputs(self._folder, splits, config, Progress())
            self._classifiers[config.dropout] = inputs.build()
        return self._classifiers[config.dropout]

    def run(self, settings: dict[str, Any]) -> pd.DataFrame:
        """Return AUC on validation and on the held-out tiles of each fold."""
        config = replace(self._base, **settings)
        classifier = self._build(config)
        _, head = split_model(classifier, "head")
        first = head.get_weights()
        rows, every = [], np.arange(len(self._labels))
        for fold in range(FOLDS):
            tiles = self._inputs.arrange(fold)
            head.set_weights(first)
            fit_head(classifier, self._features, tiles, config)
            # All cached views, as prediction would average them.
            logits = np.mean(
                [
                    head.predict(
                        np.asarray(self._features[view, every]),
                        batch_size=1024,
                        verbose=0,
                    )[:, 0]
                    for view in range(self._features.shape[0])
                ],
                axis=0,
            )
            used = np.concatenate([tiles.train_rows, tiles.val_rows])
            test = np.setdiff1d(np.arange(len(logits)), used)
            rows.append(
                {
                    name: roc_auc_score(self._labels[part], logits[part])
                    for name, part in (("val", tiles.val_rows), ("test", test))
                }
            )
        head.set_weights(first)
        return pd.DataFrame(rows)


def run_study(
    tiles: Path,
    weights: Path,
    encoders: list[str],
    views: int,
    tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    folder = open_tile_folder(tiles)
    tables: dict[str, pd.DataFrame] = {}
    result: dict[str, Any] = {"views": views, "candidates": {}}
    for encoder in encoders:
        base = TileTraining(
            encoder=encoder,
            weights=find_weights(weights, encoder),
            fine_tune="none",
            folds=FOLDS,
            cached_views=views,  # type: ignore[arg-type]
            patience=None,
        )
        study = Study(folder, base)
        for name, settings in HEADS.items():
            key = f"{encoder}: {name}"
            tables[key] = study.run(settings)
            result["candidates"][key] = {
                side: [round(float(v), 4) for v in tables[key][side]]
                for side in ("val", "test")
            } | {"mean_val": round(float(tables[key]["val"].mean()), 4)}
            tell(result)
    result["chosen"] = max(tables, key=lambda key: tables[key]["val"].mean())
    by_fold = [
        max(tables, key=lambda key: tables[key]["val"][fold]) for fold in range(FOLDS)
    ]
    result["nested"] = {
        "chosen": by_fold,
        "mean_test": round(
            float(np.mean([tables[k]["test"][i] for i, k in enumerate(by_fold)])), 4
        ),
    }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--negative", default="Normal")
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS)
    parser.add_argument("--encoders", nargs="+", default=["densenet121"])
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--set", nargs="+", default=[], dest="settings")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.out.exists() else {}

    def tell(step: str, content: dict[str, Any]) -> None:
        result[step] = content
        options.out.write_text(json.dumps(result, indent=2))

    with tempfile.TemporaryDirectory() as name:
        work = options.work or Path(name)
        tiles = work / "cleaned"
        for step in options.steps:
            if step == "prepare":
                content = prepare(options.images, work, options.negative)
            elif step == "study":
                content = run_study(
                    tiles,
                    options.weights,
                    options.encoders,
                    options.views,
                    lambda partial: tell("study", partial),
                )
            else:
                content = run_recipe(
                    step, tiles, options.weights, work, options.settings
                )
            tell(step, content)
            print(step, json.dumps(content), flush=True)


if __name__ == "__main__":
    main()
