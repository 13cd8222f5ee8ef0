"""Five classical multiple-instance sets: accuracy next to the published figures.

    python benchmarks/mil_classical.py OUT.json [--aggregators gated_attention ...]
        [--sets musk1 ...] [--repeats 5]

10-fold cross-validation, repeated on other splits; every fold trains on the other
nine and is scored once, at a logit of 0. Layers as in Ilse et al., 2018 (256, 128 and
64, attention 64); weight decay (0.005), learning rate (2e-4 for one bag per step,
scaled by the root of the bags per step) and cosine schedule as in Li et al., 2021; 20
epochs, because in a trial on nine tenths of elephant 60 did no better. One setting is
chosen anew in every fold, on a fifth of its training bags: how far out features may
lie, since these sets have long tails; then all training bags train, without validation.
The sets lie in the folder that EOSIN_DATA names. What OUT.json holds already is not run
again.
"""

import argparse
import inspect
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from eosin.bags import Bag
from eosin.core import write_json
from eosin.models import AGGREGATORS, MILModel, build_mil_model, predict_bags
from eosin.settings import BagFit
from eosin.training import TrainingBags, train_mil

N_FEATURES = {"musk1": 166, "musk2": 166, "fox": 230, "tiger": 230, "elephant": 230}
N_FOLDS = 10
WIDTHS = (256, 128, 64)
UNITS = 64
DROPOUT = 0.25
BATCH = 32
CLIPS = (None, 3.0, 1.5)
CONFIG = BagFit(
    epochs=20,
    batch=BATCH,
    learning_rate=2e-4 * BATCH**0.5,
    schedule="cosine",
    weight_decay=5e-3,
    class_weights="none",
    monitor="val_roc_auc",
    patience=None,
)
# Accuracy in percent and its deviation, in the order of N_FEATURES.
PUBLISHED = {
    "mi-Net, Wang et al., 2018": [
        (88.9, 3.9), (85.2, 4.5), (61.3, 3.5), (82.4, 3.7), (85.8, 3.6),
    ],
    "MI-Net, Wang et al., 2018": [
        (88.7, 4.1), (85.9, 4.5), (62.2, 2.2), (83.0, 2.2), (86.2, 2.5),
    ],
    "attention, Ilse et al., 2018": [
        (89.2, 4.0), (85.8, 4.8), (61.5, 4.3), (83.9, 2.2), (86.8, 2.2),
    ],
    "gated attention, Ilse et al., 2018": [
        (90.0, 5.0), (86.3, 4.2), (60.3, 2.9), (84.5, 1.8), (85.7, 2.7),
    ],
}  # fmt: skip
RIVALS = {
    "max": "mi-Net, Wang et al., 2018",
    "attention": "attention, Ilse et al., 2018",
    "gated_attention": "gated attention, Ilse et al., 2018",
}


def read_set(folder: Path, name: str) -> list[Bag]:
    """Read one set as bags; an extra column would be the answer."""
    with np.load(folder / f"{name}.npz") as file:
        features, owners, labels = file["X"], file["bag_id"], file["bag_label"]
    if features.shape[1] != N_FEATURES[name]:
        raise SystemExit(
            f"{name}: must have {N_FEATURES[name]} features, got {features.shape[1]}; "
            "some copies hold the instance's label as one more"
        )
    return [
        Bag(bag_id=f"{name}-{i}", features=features[owners == i], label=int(label))
        for i, label in enumerate(labels)
    ]


def train(
    bags: list[Bag], rows: np.ndarray, name: str, seed: int, clip: float | None
) -> MILModel:
    """Train on some bags, without validation."""
    has_units = "units" in inspect.signature(AGGREGATORS[name].layer).parameters
    model = build_mil_model(
        name,
        dimension=bags[0].n_features,
        widths=WIDTHS,
        dropout=DROPOUT,
        seed=seed,
        options={"units": UNITS} if has_units else {},
    )
    nothing = np.array([], np.int64)
    split = TrainingBags(bags, rows, nothing, ("negative", "positive"))
    train_mil(model, split, replace(CONFIG, seed=seed, clip=clip))
    return model


def score(model: MILModel, bags: list[Bag], rows: np.ndarray) -> np.ndarray:
    """Give the logits of some bags."""
    return np.array([p.logits[0] for p in predict_bags(model, [bags[i] for i in rows])])


def choose_clip(
    bags: list[Bag], rows: np.ndarray, name: str, seed: int
) -> float | None:
    """Choose on a fifth of the training bags, by the cross entropy."""
    labels = np.array([bags[i].label for i in rows])
    inner, held_out = train_test_split(
        rows, test_size=0.2, random_state=seed, stratify=labels
    )
    held_labels = np.array([bags[i].label for i in held_out])
    losses = []
    for clip in CLIPS:
        logits = score(train(bags, inner, name, seed, clip), bags, held_out)
        losses.append(
            np.logaddexp(0, np.where(held_labels == 1, -logits, logits)).mean()
        )
    return CLIPS[int(np.argmin(losses))]


def run_repeat(bags: list[Bag], name: str, repeat: int) -> dict[str, object]:
    """Cross-validate once."""
    labels = np.array([bag.label for bag in bags])
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=repeat)
    logits = np.zeros(len(bags))
    accuracies, clips = [], []
    for fold, (rows, test) in enumerate(folds.split(labels, labels)):
        seed = 1000 * repeat + fold
        clips.append(choose_clip(bags, rows, name, seed))
        logits[test] = score(train(bags, rows, name, seed, clips[-1]), bags, test)
        accuracies.append(float(np.mean((logits[test] > 0) == labels[test])))
    auc = float(roc_auc_score(labels, logits))
    return {"folds": accuracies, "roc_auc": auc, "clips": clips}


def summarise(repeats: list[dict[str, object]]) -> dict[str, float]:
    folds = np.array([repeat["folds"] for repeat in repeats])
    return {
        "accuracy": round(float(100 * folds.mean()), 1),
        "deviation_of_folds": round(float(100 * folds.std()), 1),
        "deviation_of_repeats": round(float(100 * folds.mean(axis=1).std()), 1),
        "roc_auc": round(float(np.mean([repeat["roc_auc"] for repeat in repeats])), 3),
    }


def compare(cell: dict[str, object], rival: str, set_name: str) -> dict[str, object]:
    """Say how far the accuracy lies from a published one, in its deviations."""
    value, deviation = PUBLISHED[rival][list(N_FEATURES).index(set_name)]
    distance = round((float(str(cell["accuracy"])) - value) / deviation, 2)
    return {"deviations_off": distance, "is_within_published": distance >= -1}


def tabulate(results: dict[str, dict[str, dict[str, object]]]) -> str:
    """Write what is measured and what is published as a table in Markdown."""
    lines = [f"| | {' | '.join(N_FEATURES)} |", "|---" * (len(N_FEATURES) + 1) + "|"]
    for name, cells in results["measured"].items():
        row = [name]
        for set_name in N_FEATURES:
            cell: dict = cells.get(set_name, {})
            n_repeats = len(cell.get("repeats", ()))
            row.append(
                f"{cell['accuracy']:.1f}±{cell['deviation_of_repeats']:.1f} "
                f"({n_repeats} repeats)"
                if n_repeats
                else ""
            )
        lines.append(f"| {' | '.join(row)} |")
    for name, cells in results["published"].items():
        row = [f"{value}±{deviation}" for value, deviation in cells.values()]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--aggregators", nargs="+", default=["attention"])
    parser.add_argument("--sets", nargs="+", default=list(N_FEATURES))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    folder = Path(os.environ.get("EOSIN_DATA", "../shared/data")) / "mil_benchmarks"
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results["published"] = {
        row: dict(zip(N_FEATURES, figures, strict=True))
        for row, figures in PUBLISHED.items()
    }
    measured = results.setdefault("measured", {})
    for name in options.aggregators:
        cells = measured.setdefault(name, {})
        # One repeat of every set before the next, so that a cut run shows all sets.
        for repeat in range(options.repeats):
            for set_name in options.sets:
                cell = cells.setdefault(set_name, {"repeats": []})
                if repeat < len(cell["repeats"]):
                    continue
                started = time.perf_counter()
                bags = read_set(folder, set_name)
                cell["repeats"].append(run_repeat(bags, name, repeat))
                cell["seconds"] = round(time.perf_counter() - started, 1)
                cell |= summarise(cell["repeats"])
                if name in RIVALS:
                    cell |= compare(cell, RIVALS[name], set_name)
                write_json(options.out, results)
                shown = {k: v for k, v in cell.items() if k != "repeats"}
                print(name, set_name, repeat, shown, flush=True)
    print(tabulate(results))


if __name__ == "__main__":
    main()
