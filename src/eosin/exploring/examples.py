"""Which tiles to show of a model: where it is surest and where it is least sure."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.evaluation import Threshold

ExampleKind = Literal["right", "wrong", "uncertain"]
EXAMPLE_KINDS: tuple[ExampleKind, ...] = get_args(ExampleKind)

Rows = npt.NDArray[np.int64]


def measure_confidence(
    probabilities: npt.NDArray[np.float64], threshold: Threshold
) -> npt.NDArray[np.float64]:
    """Measure how far each tile is from being called otherwise, 0 to 1.

    With two classes this is the way from the threshold, one for all tiles or for each,
    to the probability as a share of the way to certainty on that side; with more, the
    highest probability less the second.
    """
    if probabilities.shape[1] > 2:
        ranked = np.sort(probabilities, axis=1)
        return np.asarray(ranked[:, -1] - ranked[:, -2])
    if threshold is None:
        raise ValueError("two classes need a threshold, got None")
    positive = probabilities[:, 1]
    least = np.broadcast_to(np.asarray(threshold, np.float64), positive.shape)
    way = np.where(positive >= least, 1 - least, least)
    gap = np.abs(positive - least)
    return np.divide(gap, way, out=np.zeros_like(gap), where=way > 0)


def choose_examples(
    labels: Rows,
    called: Rows,
    confidence: npt.NDArray[np.float64],
    groups: npt.NDArray[Any],
    *,
    n: int,
    per_group: int = 0,
) -> Mapping[tuple[int, ExampleKind], Rows]:
    """Choose the tiles of each label that say most about a model; -1 is no label.

    Args:
        labels: `(tiles,)`.
        called: Class that each tile is called, `(tiles,)`.
        confidence: From `measure_confidence`, `(tiles,)`.
        groups: Group of each tile, such as its slide, `(tiles,)`.
        n: Tiles of each kind at most.
        per_group: Tiles of one group among these at most; 0 for any number.

    Returns:
        Rows by label and kind, for each label that occurs: `right` and `wrong`, the
        surest first; `uncertain`, right or wrong, the least sure first. No tile is in
        two of them: of what is not among the wrong ones the surer half may be
        `right`, the other half `uncertain`.
    """
    found: dict[tuple[int, ExampleKind], Rows] = {}
    for label in np.unique(labels[labels >= 0]).tolist():
        own = np.flatnonzero(labels == label)
        ranked = own[np.argsort(-confidence[own], kind="stable")]
        is_wrong = called[ranked] != label
        wrong = _take(ranked[is_wrong], groups, n, per_group)
        rest = ranked[~np.isin(ranked, wrong)]
        surer, others = np.split(rest, [(len(rest) + 1) // 2])
        right = surer[called[surer] == label]
        found[label, "right"] = _take(right, groups, n, per_group)
        found[label, "wrong"] = wrong
        found[label, "uncertain"] = _take(others[::-1], groups, n, per_group)
    return found


def _take(rows: Rows, groups: npt.NDArray[Any], n: int, per_group: int) -> Rows:
    """Take the first rows, and no more than so many of one group."""
    if not per_group:
        return rows[:n]
    place_in_group = pd.Series(rows).groupby(groups[rows]).cumcount().to_numpy()
    return rows[place_in_group < per_group][:n]
