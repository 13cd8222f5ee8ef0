"""What each change to training and pooling brings, on validation bags of real tiles.

    python benchmarks/mil_limit_prostate.py features/ tiles/ out.json

`tiles/` is a folder of `eosin tile` with labelled tiles, `features/` one of `eosin
embed`. Each variant is trained on 1,000 bags of 40 tiles in each of four folds by
patient and scored on bags of the validation patients with 20, 10, 5 and 1 witnesses;
the held-out patients of the folds are not looked at. Written are mean ROC AUCs.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eosin.bags import Bag, DrawnFeatures
from eosin.core import read_json, write_json
from eosin.models import MILModel, build_mil_model, predict_bags
from eosin.settings import LimitSettings
from eosin.studies.limit_cells import find_auc, score
from eosin.studies.limit_sides import FoldBags, StudyTiles, read_study_tiles
from eosin.tiles.folder import open_tile_folder
from eosin.training import TrainingBags, train_mil

Floats = npt.NDArray[np.float64]

BASE = LimitSettings()
N_BAGS = 1000
RATES = (0.02, 0.05, 0.1, 0.25, 0.5)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train; what is not said is as in the first."""

    aggregator: str = "gated_attention"
    witnesses: tuple[int, ...] = BASE.witnesses
    changes: tuple[tuple[str, Any], ...] = ()
    hard_share: float = 0.0


VARIANTS = {
    "gated attention, trained at 20": Variant(witnesses=(20,)),
    "gated attention": Variant(),
    "concat40, trained at 20": Variant(aggregator="concat40", witnesses=(20,)),
    "concat40": Variant(aggregator="concat40"),
    "likelihood ratio": Variant(aggregator="likelihood_ratio"),
    "likelihood ratio, trained at 20": Variant(
        aggregator="likelihood_ratio", witnesses=(20,)
    ),
    "likelihood ratio, linear": Variant(
        aggregator="likelihood_ratio", changes=(("widths", ()), ("dropout", 0.0))
    ),
    "likelihood ratio, slower": Variant(
        aggregator="likelihood_ratio", changes=(("learning_rate", 3e-4),)
    ),
    "likelihood ratio, dropout 0.5": Variant(
        aggregator="likelihood_ratio", changes=(("dropout", 0.5),)
    ),
    "likelihood ratio, 32 components": Variant(
        aggregator="likelihood_ratio", changes=(("components", 32),)
    ),
    "likelihood ratio, hard negatives": Variant(
        aggregator="likelihood_ratio", hard_share=0.3
    ),
    "top 4": Variant(aggregator="top_k_mean"),
    "noisy-or": Variant(aggregator="noisy_or"),
    "mean": Variant(aggregator="mean"),
}


def main() -> None:
    """Train every variant that the output does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("features", "tiles", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    paths = parser.parse_args()
    data = read_study_tiles(paths.features, open_tile_folder(paths.tiles), BASE)
    found = read_json(paths.out) if paths.out.exists() else {}
    for name in paths.only:
        variant = VARIANTS[name]
        if name not in found:
            started = time.process_time()
            aucs = [run_fold(data, fold, variant) for fold in range(BASE.folds)]
            found[name] = describe(aucs, time.process_time() - started)
            write_json(paths.out, found)
    aucs = [score_by_labels(data, fold) for fold in range(BASE.folds)]
    found["tiles' own labels"] = describe(aucs, 0.0)
    write_json(paths.out, found)


def describe(aucs: list[list[float]], seconds: float) -> dict[str, Any]:
    """Average the folds' AUCs at 20, 10, 5 and 1 witnesses."""
    return {
        "roc_auc": np.round(np.mean(aucs, axis=0), 3).tolist(),
        "folds": np.round(aucs, 3).tolist(),
        "cpu_seconds": round(seconds, 1),
    }


def run_fold(data: StudyTiles, fold: int, variant: Variant) -> list[float]:
    """Train on a fold's training patients and score its validation patients."""
    config = replace(BASE, **dict(variant.changes))
    bags = FoldBags(data, fold, config)
    train = bags.draw("train", N_BAGS, variant.witnesses)
    model = fit(bags, train, variant, config)
    if variant.hard_share:
        train = harden(data, bags, train, model, variant.hard_share)
        model = fit(bags, train, variant, config)
    return score_rates(bags, lambda own: score(model, own))


def fit(
    bags: FoldBags, train: list[Bag], variant: Variant, config: LimitSettings
) -> MILModel:
    """Train one model, as a cell of the study does."""
    val = bags.draw("val", config.val_bags, variant.witnesses)
    model = build_mil_model(
        variant.aggregator,
        dimension=bags.features.shape[1],
        widths=config.widths,
        dropout=config.dropout,
    )
    rows = np.arange(len(train) + len(val))
    own = TrainingBags(
        [*train, *val], rows[: len(train)], rows[len(train) :], ("without", "with")
    )
    train_mil(model, own, config)
    return model


def harden(
    data: StudyTiles, bags: FoldBags, train: list[Bag], model: MILModel, share: float
) -> list[Bag]:
    """Put the normal tiles that look most like witnesses into the negative bags."""
    rows, is_witness = bags.list_instances("train")
    normal = rows[~is_witness]
    whole = Bag(bag_id="normal", features=bags.features[normal], label=0)
    (found,) = predict_bags(model, [whole])
    if found.instance_logits is None:
        raise ValueError("hard negatives need a method that scores instances")
    order = np.argsort(found.instance_logits[:, 0])
    hard = normal[order[-len(order) // 5 :]]
    rng = np.random.default_rng(0)
    n_hard = round(share * BASE.bag_size)
    drawn = []
    for bag in train:
        own = bag
        if bag.label == 0:
            places = [
                rng.choice(hard, n_hard, replace=False),
                rng.choice(normal, BASE.bag_size - n_hard, replace=False),
            ]
            chosen = np.concatenate(places)
            slides = data.table["slide_id"].iloc[chosen].astype(str)
            own = replace(
                bag,
                features=DrawnFeatures(bags.features, chosen),
                slide_ids=tuple(sorted(set(slides))),
            )
        drawn.append(own)
    return drawn


def score_by_labels(data: StudyTiles, fold: int) -> list[float]:
    """Score bags by a classifier that was taught the training tiles' own labels."""
    bags = FoldBags(data, fold, BASE)
    rows, is_witness = bags.list_instances("train")
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced")
    )
    model.fit(bags.features[rows], is_witness)

    def score_bags(own: list[Bag]) -> Floats:
        # With balanced classes the decision is a log likelihood ratio.
        logs = np.stack([model.decision_function(bag.read()) for bag in own])
        sums = [np.log(1 - r + r * np.exp(logs)).sum(axis=1) for r in RATES]
        found: Floats = logsumexp(sums, axis=0)
        return found

    return score_rates(bags, score_bags)


def score_rates(bags: FoldBags, score_bags: Any) -> list[float]:
    """Give the AUC on validation patients' bags of every rate."""
    aucs = []
    for n in BASE.witnesses:
        # Another seed: the bags that chose the epoch are not scored again.
        own = bags.draw("val", BASE.test_bags, (n,), seed=1)
        scores = score_bags(own)
        aucs.append(find_auc(scores[::2], scores[1::2]))
    return aucs


if __name__ == "__main__":
    main()
