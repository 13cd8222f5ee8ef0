"""Which tiles an epoch shows, and in which order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.settings import Balance
from eosin.training.training_data import Rows


def find_shares(
    labels: NDArray[Any],
    slide_ids: NDArray[Any],
    *,
    balance: Balance,
    max_repeats: float = np.inf,
) -> NDArray[np.float64]:
    """Say how often each tile is drawn in an epoch, on average.

    With `class_and_slide` the classes are drawn equally often, and within a
    class the slides.

    Args:
        labels: `(tiles,)`.
        slide_ids: `(tiles,)`.
        balance: What is to be drawn equally often.
        max_repeats: Above this no share goes; what is cut off is not given to
            other tiles.

    Returns:
        `(tiles,)`, above 0; without cuts they sum to the number of tiles.
    """
    n = len(labels)
    shares = np.ones(n)
    _, slides = np.unique(slide_ids, return_inverse=True)
    if balance == "class":
        shares = _share_equally(labels, n)
    elif balance == "slide":
        shares = _share_equally(slides, n)
    elif balance == "class_and_slide":
        classes = np.unique(labels)
        for label in classes:
            rows = labels == label
            shares[rows] = _share_equally(slides[rows], n / len(classes))
    return np.minimum(shares, max_repeats)


def draw_epoch(
    rows: Rows, shares: NDArray[np.float64], *, seed: int, epoch: int
) -> Rows:
    """Draw an epoch's rows, in the order in which they are shown.

    Each row is drawn as often as its share says, rounded up or down by chance
    (systematic sampling), so that no tile is missed by bad luck as in
    independent draws. The result depends on nothing but the arguments.

    Args:
        rows: Rows to draw from.
        shares: From `find_shares`, one of each row.
        seed: The training's seed.
        epoch: From 0.

    Returns:
        As many rows in every epoch: the sum of the shares, rounded.
    """
    rng = np.random.default_rng((seed, epoch))
    # Shuffled first, or neighbours in the table would share their luck.
    order = rng.permutation(len(rows))
    n_drawn = count_epoch(shares)
    ends = np.cumsum(shares[order])
    marks = np.floor(ends * (n_drawn / ends[-1]) + rng.random())
    marks[-1] = n_drawn
    counts = np.diff(marks, prepend=0.0).astype(np.int64)
    drawn = np.repeat(rows[order], counts)
    return rng.permutation(drawn)


def count_epoch(shares: NDArray[np.float64]) -> int:
    """Count the rows of an epoch."""
    return max(1, round(float(shares.sum())))


def _share_equally(groups: NDArray[Any], total: float) -> NDArray[np.float64]:
    """Give every group the same part of a total, and its members the same of it."""
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(total / len(sizes) / sizes[members])
