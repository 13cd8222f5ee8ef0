"""One cell of a limit study: a model trained on some bags, scored on all rates."""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eosin.bags import Bag
from eosin.evaluation import (
    COLOUR_COLUMNS,
    Classes,
    choose_threshold,
    compute_instance_auc,
    find_bag_ceiling,
    find_log_ratios,
    find_sensitivity,
)
from eosin.models import MILModel, build_mil_model, predict_bags
from eosin.settings import BagFit, LimitSettings
from eosin.studies.limit_sides import FoldBags, StudyTiles
from eosin.training import TrainingBags, train_mil

Floats = npt.NDArray[np.float64]

_TARGET = Classes(("without", "with"))
_REGULARISATIONS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes:
        fold: Whose patients are held out.
        training: Witnesses of the positive training bags, or `mixture` of all rates.
        n_bags: Training bags.
        aggregator: The method.
        seed: Of the weights, and of which bags are drawn.
    """

    fold: int
    training: str
    n_bags: int
    aggregator: str
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        place = f"{self.seed}_{self.fold}"
        return f"{self.training}_{self.n_bags}_{self.aggregator}_{place}"


@dataclass(frozen=True, eq=False)
class TestBags:
    """Test bags of one fold, which all of its cells share.

    Attributes:
        negatives: The same for every rate.
        positives: For each number of witnesses.
        resampled: The same two of every resampled set of patients.
    """

    negatives: list[Bag]
    positives: list[list[Bag]]
    resampled: list[tuple[list[Bag], list[list[Bag]]]]


def list_cells(config: LimitSettings) -> list[Cell]:
    """List all cells, those of one fold together."""
    return [
        Cell(*parts)
        for parts in itertools.product(
            range(config.folds),
            config.train_witnesses,
            config.bags,
            config.aggregators,
            config.seeds,
        )
    ]


def draw_test_bags(bags: FoldBags, config: LimitSettings) -> TestBags:
    """Draw a fold's test bags of every witness rate from its held-out patients.

    Raises:
        ManifestError: There are too few tiles.
    """
    drawn = [bags.draw("test", config.test_bags, (n,)) for n in config.witnesses]
    return TestBags(
        drawn[0][::2],
        [own[1::2] for own in drawn],
        [
            bags.draw_resampled(i, config.resample_bags, config.witnesses)
            for i in range(config.n_resamples)
        ],
    )


def run_cell(
    cell: Cell, bags: FoldBags, test: TestBags, config: LimitSettings
) -> dict[str, Any]:
    """Train one model and score it; all choices are made on validation bags.

    Returns:
        What JSON can hold: `threshold`, `val_roc_auc`, `best_epoch`, `epochs`,
        `seconds`, `negatives` (logits), and for each number of witnesses `positives`
        (logits), `attention_auc`; `resampled_sensitivity` and `resampled_auc`,
        `(resamples, rates)`.
    """
    started = time.perf_counter()
    witnesses = config.find_train_witnesses(cell.training)
    train = bags.draw("train", cell.n_bags, witnesses, seed=cell.seed)
    val = bags.draw("val", config.val_bags, witnesses)
    model = build_mil_model(
        cell.aggregator,
        dimension=bags.features.shape[1],
        widths=config.widths,
        dropout=config.dropout,
        seed=1000 * cell.seed + config.seed,
    )
    data = TrainingBags(
        [*train, *val],
        np.arange(len(train)),
        np.arange(len(train), len(train) + len(val)),
        _TARGET.class_names,
    )
    fit = train_mil(model, data, _seed_training(config, cell))
    val_logits = score(model, val)
    labels = np.array([bag.label for bag in val], np.int64)
    choice = choose_threshold(
        labels, np.stack([-val_logits, val_logits], axis=1), target=_TARGET
    )
    return {
        "threshold": choice.threshold,
        "val_roc_auc": float(roc_auc_score(labels, val_logits)),
        "best_epoch": fit.best.epoch,
        "epochs": len(fit.epochs),
        **_score_test(model, test, config),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _seed_training(config: LimitSettings, cell: Cell) -> BagFit:
    return replace(config, seed=1000 * cell.seed + config.seed)


def score(model: MILModel, bags: Sequence[Bag]) -> Floats:
    """Give the bags' logits, `(bags,)`."""
    found = predict_bags(model, bags)
    return np.array([prediction.logits[0] for prediction in found], np.float64)


def _score_test(
    model: MILModel, test: TestBags, config: LimitSettings
) -> dict[str, Any]:
    negatives = score(model, test.negatives)
    positives, attention = [], []
    for own in test.positives:
        found = predict_bags(model, own)
        positives.append(np.array([f.logits[0] for f in found], np.float64))
        is_witness = np.array([bag.instance_labels for bag in own]) > 0
        attention.append(
            compute_instance_auc(np.array([f.attention for f in found]), is_witness)
        )
    sensitivities, aucs = _score_resampled(model, test, config)
    return {
        "negatives": negatives.tolist(),
        "positives": [own.tolist() for own in positives],
        "attention_auc": [None if math.isnan(auc) else auc for auc in attention],
        "resampled_sensitivity": sensitivities.tolist(),
        "resampled_auc": aucs.tolist(),
    }


def _score_resampled(
    model: MILModel, test: TestBags, config: LimitSettings
) -> tuple[Floats, Floats]:
    """Score all resampled bags in one go; `(resamples, rates)` each."""
    parts = [part for low, high in test.resampled for part in (low, *high)]
    logits = score(model, list(itertools.chain(*parts)))
    n_kinds = 1 + len(config.witnesses)
    shaped = logits.reshape(config.n_resamples, n_kinds, config.resample_bags)
    sensitivities = np.zeros((config.n_resamples, n_kinds - 1))
    aucs = np.zeros_like(sensitivities)
    for i, (negatives, *positives) in enumerate(shaped):
        for j, own in enumerate(positives):
            sensitivities[i, j] = find_sensitivity(
                negatives, own, specificity=config.specificity
            )
            aucs[i, j] = find_auc(negatives, own)
    return sensitivities, aucs


def find_auc(negatives: Floats, positives: Floats) -> float:
    """Compute the area under the ROC curve of two sets of scores."""
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    return float(roc_auc_score(labels, np.concatenate([negatives, positives])))


def measure_ceiling(
    tiles: StudyTiles, bags: FoldBags, config: LimitSettings
) -> dict[str, Any]:
    """Measure what instances told apart by their own labels would allow.

    A logistic regression learns the labels of the training side's tiles, validation
    chooses how strongly it is held back, and the held-out patients' tiles are scored.
    Where the tile table holds mean colours, the same is done with them alone.

    Returns:
        `features` and, where there are colours, `colour`: each `instance_auc`, and for
        each number of witnesses `roc_auc` and `sensitivity`.
    """
    found = {"features": _measure(bags.features, bags, config)}
    if set(COLOUR_COLUMNS) <= set(tiles.table.columns):
        colours = tiles.table[list(COLOUR_COLUMNS)].to_numpy(np.float32)
        if np.isfinite(colours).all():
            found["colour"] = _measure(colours, bags, config)
    return found


def _measure(
    features: npt.NDArray[np.float32], bags: FoldBags, config: LimitSettings
) -> Mapping[str, Any]:
    train, is_witness = bags.list_instances("train")
    val, is_val_witness = bags.list_instances("val")
    test, is_test_witness = bags.list_instances("test")
    best, best_auc = None, -1.0
    for strength in _REGULARISATIONS:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength, class_weight="balanced", max_iter=1000),
        )
        model.fit(features[train], is_witness)
        auc = float(
            roc_auc_score(is_val_witness, model.decision_function(features[val]))
        )
        if auc > best_auc:
            best, best_auc = model, auc
    if best is None:  # pragma: no cover - the loop has fitted one
        raise ValueError("no instance classifier was fitted")
    scores = best.decision_function(features[test])
    own, others = find_log_ratios(scores[is_test_witness], scores[~is_test_witness])
    ceilings = [
        find_bag_ceiling(
            own,
            others,
            size=config.bag_size,
            n_witnesses=n,
            specificity=config.specificity,
            seed=config.seed,
        )
        for n in config.witnesses
    ]
    return {
        "instance_auc": float(roc_auc_score(is_test_witness, scores)),
        "roc_auc": [ceiling.roc_auc for ceiling in ceilings],
        "sensitivity": [ceiling.sensitivity for ceiling in ceilings],
    }
