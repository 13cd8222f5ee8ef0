"""What a set of tiles is like: its outliers, its classes, its batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.settings import OutlierLimits

# What a tile's pixels alone can tell against it.
OUTLIERS = ("blank", "black", "saturated", "blurred")
# The measures whose spread by class is of interest; the others serve the outliers.
SHOWN_MEASURES = (
    "intensity",
    "saturation",
    "haematoxylin",
    "eosin",
    "sharpness",
    "white_share",
)
DENSITY_COLUMNS = ("density_red", "density_green", "density_blue")

# Below this standard deviation, in grey levels, a tile is of one colour.
_FLAT_CONTRAST = 2.0
_PERCENTILES = (5, 25, 50, 75, 95)
_NEIGHBOURS = 10
_MOST_REFERENCES = 20_000
_COMPONENTS = 50


@dataclass(frozen=True, eq=False)
class ColourMap:
    """Tiles by their mean optical density, on its two main directions.

    Attributes:
        points: `(tiles, 2)`; NaN where a tile has no density.
        shares: Part of the variance that each direction holds, `(2,)`.
        directions: In red, green and blue, `(2, 3)`. More of the first is darker.
    """

    points: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]


def find_outliers(measures: pd.DataFrame, limits: OutlierLimits) -> pd.DataFrame:
    """Tell which tiles are blank, black, saturated or blurred, by their `APPEARANCE`.

    A row of NaN, of a tile that was not measured, is no outlier. Blank and black
    tiles are never called blurred.
    """
    is_black = measures["black_share"] >= limits.black_share
    is_flat = measures["contrast"] < _FLAT_CONTRAST
    is_blank = ((measures["white_share"] >= limits.blank_share) | is_flat) & ~is_black
    has_content = ~(is_blank | is_black)
    is_blurred = has_content.copy()
    for name in ("sharpness", "detail"):
        usual = measures.loc[has_content, name].median()
        is_blurred &= measures[name] < limits.blur_ratio * usual
    is_saturated = measures["clipped_share"] >= limits.saturated_share
    flags = (is_blank, is_black, is_saturated, is_blurred)
    return pd.DataFrame(dict(zip(OUTLIERS, flags, strict=True)))


def describe_by_class(
    measures: pd.DataFrame,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Describe the measures, columns `SHOWN_MEASURES`, of each class.

    Returns:
        `measure, class_name, n, percentile_5, percentile_25, median, percentile_75,
        percentile_95, roc_auc`: what the measure alone tells of the class against
        all others, 0.5 for nothing; NaN where a class is empty.
    """
    rows = []
    for measure in SHOWN_MEASURES:
        values = measures[measure].to_numpy(np.float64)
        is_used = (labels >= 0) & ~np.isnan(values)
        for label, name in enumerate(class_names):
            is_own = labels[is_used] == label
            own = values[is_used][is_own]
            parts = np.percentile(own, _PERCENTILES) if len(own) else [np.nan] * 5
            rows.append(
                (measure, name, len(own), *parts, _find_auc(is_own, values[is_used]))
            )
    columns = [f"percentile_{p}" if p != 50 else "median" for p in _PERCENTILES]
    return pd.DataFrame(
        rows, columns=["measure", "class_name", "n", *columns, "roc_auc"]
    )


def correlate_measures(
    measures: pd.DataFrame,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Correlate the measures with each other and with the classes; -1 is no label.

    Spearman's rank correlation, which skewed measures and a few odd tiles do not
    upset.

    Returns:
        A square table: `SHOWN_MEASURES`, then the positive class of two, or each
        class of more, as 1 against 0. NaN where something never varies.
    """
    is_labelled = labels >= 0
    table = measures.loc[is_labelled, list(SHOWN_MEASURES)].astype(np.float64)
    first = 1 if len(class_names) == 2 else 0
    for label in range(first, len(class_names)):
        table[class_names[label]] = (labels[is_labelled] == label).astype(np.float64)
    return table.corr(method="spearman")


def map_colours(density: npt.NDArray[np.floating]) -> ColourMap:
    """Lay tiles out by the principal components of their density, `(tiles, 3)`."""
    values = np.asarray(density, np.float64)
    is_known = np.isfinite(values).all(axis=1)
    points = np.full((len(values), 2), np.nan)
    if is_known.sum() < 3:
        return ColourMap(points, np.zeros(2), np.zeros((2, 3)))
    centred = values[is_known] - values[is_known].mean(axis=0)
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)
    # The sign of a direction is the computer's whim; a sum above 0 means darker.
    directions *= np.where(directions.sum(axis=1, keepdims=True) < 0, -1, 1)
    points[is_known] = centred @ directions[:2].T
    total = max(float((spreads**2).sum()), np.finfo(float).tiny)
    return ColourMap(points, spreads[:2] ** 2 / total, directions[:2])


def explain_colour(
    density: npt.NDArray[np.floating], groups: Sequence[object]
) -> float | None:
    """Find how much of the tiles' difference in colour lies between groups, 0 to 1.

    Epsilon squared: the between-group share of the sum of squares, less what groups
    drawn at random would have, so that many small groups do not seem to explain. None
    with fewer than two groups, or no group of two tiles.

    Args:
        density: Mean optical density, `(tiles, 3)`; rows with NaN are left out.
        groups: Group of each tile; those of None are left out.
    """
    names = pd.Series(list(groups), dtype="object")
    is_used = np.isfinite(density).all(axis=1) & names.notna().to_numpy()
    values = np.asarray(density[is_used], np.float64)
    numbers, found = pd.factorize(names[is_used].astype(str))
    n, k = len(numbers), len(found)
    if k < 2 or n <= k:
        return None
    values -= values.mean(axis=0)
    total = float((values**2).sum())
    sums = np.stack([np.bincount(numbers, column) for column in values.T], axis=1)
    between = float((sums**2 / np.bincount(numbers)[:, None]).sum())
    within = (total - between) / (n - k)
    if total <= 0:
        return None
    return min(1.0, max(0.0, (between - (k - 1) * within) / total))


def measure_isolation(
    features: npt.NDArray[np.floating], *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Measure how far tiles, `(tiles, features)`, lie from their neighbours.

    Returns:
        Distance to the tenth neighbour (among 20,000 drawn ones where there are more)
        in the first 50 principal components, over its median, `(tiles,)`; 1 is usual.
        Fewer than three tiles, and equal ones, are all 1.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    n = len(features)
    values = np.asarray(features, np.float32)
    if n < 3 or not np.ptp(values, axis=0).any():
        return np.ones(n)
    n_components = min(_COMPONENTS, values.shape[1], n - 1)
    points = PCA(
        n_components, svd_solver="randomized", random_state=seed
    ).fit_transform(values)
    rows = np.arange(n)
    if n > _MOST_REFERENCES:
        rows = np.random.default_rng(seed).choice(n, _MOST_REFERENCES, replace=False)
    # A tile is its own first neighbour.
    n_near = min(_NEIGHBOURS + 1, n)
    near = NearestNeighbors(n_neighbors=n_near, algorithm="brute").fit(points[rows])
    distances = near.kneighbors(points)[0][:, -1].astype(np.float64)
    usual = float(np.median(distances))
    return distances / usual if usual > 0 else np.ones(n)


def _find_auc(is_one: npt.NDArray[np.bool_], values: npt.NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    if is_one.all() or not is_one.any():
        return float("nan")
    return float(roc_auc_score(is_one, values))
