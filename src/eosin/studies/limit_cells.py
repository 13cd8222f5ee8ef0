"""One cell of a limit study: a model trained on some bags, scored on all rates."""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.bags import Bag, BagScores
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
from eosin.settings import LimitSettings
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
    def group(self) -> tuple[str, int, str]:
        """What cells of other folds and seeds share."""
        return self.training, self.n_bags, self.aggregator

    @property
    def name(self) -> str:
        """A name for files."""
        return "_".join(map(str, (*self.group, self.seed, self.fold)))


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
    parts = itertools.product(
        range(config.folds),
        config.train_witnesses,
        config.bags,
        config.aggregators,
        config.seeds,
    )
    return [Cell(*part) for part in parts]


def draw_test_bags(bags: FoldBags, config: LimitSettings) -> TestBags:
    """Draw a fold's test bags of every witness rate from its held-out patients."""
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

    Gives what JSON can hold: `threshold`, `val_roc_auc`, `best_epoch`, `epochs`,
    `seconds`, `negatives` (logits), and for each number of witnesses `positives`
    (logits), `attention_auc`; `resampled_sensitivity` and `resampled_auc`,
    `(resamples, rates)`.
    """
    from sklearn.metrics import roc_auc_score

    started = time.perf_counter()
    witnesses = config.find_train_witnesses(cell.training)
    train = bags.draw("train", cell.n_bags, witnesses, seed=cell.seed)
    val = bags.draw("val", config.val_bags, witnesses)
    fitting = replace(config, seed=1000 * cell.seed + config.seed)
    model = build_mil_model(
        cell.aggregator,
        dimension=bags.features.shape[1],
        widths=config.widths,
        dropout=config.dropout,
        seed=fitting.seed,
    )
    rows = np.arange(len(train) + len(val))
    data = TrainingBags(
        [*train, *val], rows[: len(train)], rows[len(train) :], _TARGET.class_names
    )
    fit = train_mil(model, data, fitting)
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


def score(model: MILModel, bags: Sequence[Bag]) -> Floats:
    """Give the bags' logits, `(bags,)`."""
    return _take_logits(predict_bags(model, bags))


def _take_logits(scores: Sequence[BagScores]) -> Floats:
    return np.array([bag.logits[0] for bag in scores], np.float64)


def _score_test(
    model: MILModel, test: TestBags, config: LimitSettings
) -> dict[str, Any]:
    positives, attention = [], []
    for bags in test.positives:
        scores = predict_bags(model, bags)
        positives.append(_take_logits(scores).tolist())
        is_witness = np.array([bag.instance_labels for bag in bags]) > 0
        auc = compute_instance_auc(np.array([s.attention for s in scores]), is_witness)
        attention.append(None if math.isnan(auc) else auc)
    # All resampled bags in one go.
    drawn = [bags for low, high in test.resampled for bags in (low, *high)]
    logits = score(model, list(itertools.chain(*drawn)))
    logits = logits.reshape(config.n_resamples, -1, config.resample_bags)
    sensitivities = [
        [find_sensitivity(low, high, specificity=config.specificity) for high in highs]
        for low, *highs in logits
    ]
    return {
        "negatives": score(model, test.negatives).tolist(),
        "positives": positives,
        "attention_auc": attention,
        "resampled_sensitivity": sensitivities,
        "resampled_auc": [
            [find_auc(low, high) for high in highs] for low, *highs in logits
        ],
    }


def find_auc(negatives: Floats, positives: Floats) -> float:
    """Compute the area under the ROC curve of two sets of scores."""
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    return float(roc_auc_score(labels, np.concatenate([negatives, positives])))


def measure_ceiling(
    tiles: StudyTiles, bags: FoldBags, config: LimitSettings
) -> dict[str, Any]:
    """Measure what instances told apart by their own labels would allow.

    A logistic regression learns the labels of the training side's tiles, validation
    chooses how strongly it is held back, and the held-out patients' tiles are scored.
    Of `features` and, where the tile table holds mean colours, of `colour`: each
    `instance_auc`, and for each number of witnesses `roc_auc` and `sensitivity`.
    """
    ceilings = {"features": _measure(bags.features, bags, config)}
    if set(COLOUR_COLUMNS) <= set(tiles.table.columns):
        colours = tiles.table[list(COLOUR_COLUMNS)].to_numpy(np.float32)
        if np.isfinite(colours).all():
            ceilings["colour"] = _measure(colours, bags, config)
    return ceilings


def _measure(
    features: npt.NDArray[np.float32], bags: FoldBags, config: LimitSettings
) -> Mapping[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, is_witness = bags.list_instances("train")
    val, is_val_witness = bags.list_instances("val")
    test, is_test_witness = bags.list_instances("test")
    models = [
        make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength, class_weight="balanced", max_iter=1000),
        ).fit(features[train], is_witness)
        for strength in _REGULARISATIONS
    ]
    # Of equal ones the first, which is held back most.
    best = max(
        models,
        key=lambda model: roc_auc_score(
            is_val_witness, model.decision_function(features[val])
        ),
    )
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
