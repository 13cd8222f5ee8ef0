"""Groups of tiles that look alike to an encoder, and a map of them."""

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ConfigError, MissingExtraError
from eosin.settings import MapMethod

Features = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

_COMPONENTS = 50
_STARTS = 4
# The silhouette compares all with all; its mean needs no more than these.
_SILHOUETTE_TILES = 2000
_PERPLEXITY = 30.0
_UMAP_NEIGHBOURS = 15
# Fewer tiles have no neighbourhood that a map could keep.
_MIN_TILES = 4


@dataclass(frozen=True, eq=False)
class Clustering:
    """Tiles in clusters, the largest cluster first.

    Attributes:
        numbers: Cluster of each tile from 0, `(tiles,)`.
        distances: Of each tile to its cluster's middle, `(tiles,)`.
        silhouettes: Mean silhouette by number of clusters that were tried, -1 to 1;
            empty where the number was given and could not be measured.
    """

    numbers: Labels
    distances: npt.NDArray[np.float64]
    silhouettes: dict[int, float] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        """How many there are."""
        return int(self.numbers.max()) + 1 if len(self.numbers) else 0


def reduce_features(features: Features, *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Keep the 50 directions in which features differ most, `(tiles, components)`.

    Principal components, not scaled: a feature that hardly varies counts for little.
    """
    from sklearn.decomposition import PCA

    n = min(_COMPONENTS, *features.shape)
    pca = PCA(n, svd_solver="randomized", random_state=seed)
    return np.asarray(pca.fit_transform(np.asarray(features, np.float64)))


def cluster_features(
    points: npt.NDArray[np.float64],
    *,
    n_clusters: int | None = None,
    most: int = 10,
    seed: int = 0,
) -> Clustering:
    """Group tiles, `(tiles, components)` from `reduce_features`, by k-means.

    Without `n_clusters` it is the number of 2 to `most` with the highest mean
    silhouette (Rousseeuw 1987), of 2,000 tiles at most.

    Raises:
        ConfigError: There are fewer tiles than clusters.
    """
    from sklearn.cluster import KMeans

    n = len(points)
    n_distinct = len(np.unique(points, axis=0))
    if n_clusters is not None and not 1 <= n_clusters <= n:
        raise ConfigError(f"clusters must be 1 to {n} (the tiles), got {n_clusters}")
    sizes = [n_clusters] if n_clusters is not None else range(2, most + 1)
    # With more clusters than different tiles some would be empty.
    fits = {
        k: KMeans(k, n_init=_STARTS, random_state=seed).fit(points)
        for k in sizes
        if k <= n_distinct
    }
    silhouettes = {
        k: value
        for k, fitted in fits.items()
        if (value := _find_silhouette(points, fitted.labels_, seed)) is not None
    }
    if not fits:
        # There are fewer different tiles than clusters, or none.
        middle = points.mean(axis=0) if n else 0
        distances = np.linalg.norm(points - middle, axis=1)
        return Clustering(np.zeros(n, np.int64), distances)
    fitted = fits[max(silhouettes or [min(fits)], key=lambda k: silhouettes.get(k, 0))]
    centres = fitted.cluster_centers_[fitted.labels_]
    return Clustering(
        _sort_by_size(fitted.labels_),
        np.linalg.norm(points - centres, axis=1),
        silhouettes,
    )


def project_points(
    points: npt.NDArray[np.float64], method: MapMethod = "tsne", *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Lay tiles out on a plane, neighbours beside each other, `(tiles, 2)`.

    By t-SNE (van der Maaten 2008, of scikit-learn, started from principal components)
    or UMAP (McInnes 2018, of umap-learn). Distances between far groups, and their
    sizes, mean nothing on such a map. Fewer than four tiles have no places (NaN).

    Raises:
        MissingExtraError: `umap` was asked for, and umap-learn is not installed.
    """
    from sklearn.manifold import TSNE

    n = len(points)
    # Before any work, whatever the number of tiles.
    umap = import_umap() if method == "umap" else None
    if n < _MIN_TILES:
        return np.full((n, 2), np.nan)
    if not np.ptp(points, axis=0).any():
        return np.zeros((n, 2))
    if umap is not None:
        mapper = umap.UMAP(
            n_neighbors=min(_UMAP_NEIGHBOURS, n - 1),
            # Its spectral start needs more tiles than directions.
            init="spectral" if n > _UMAP_NEIGHBOURS else "random",
            random_state=seed,
            n_jobs=1,
        )
    else:
        mapper = TSNE(
            perplexity=min(_PERPLEXITY, (n - 1) / 3),
            init="pca" if points.shape[1] >= 2 else "random",
            random_state=seed,
        )
    return np.asarray(mapper.fit_transform(points.astype(np.float32)), np.float64)


def describe_clusters(numbers: Labels, tiles: pd.DataFrame) -> pd.DataFrame:
    """Describe clusters of tiles with `class_name`, `called`, `slide_id`, `patient_id`.

    Returns:
        A row per cluster: `cluster` from 1, `tiles`, `slides`, `patients`,
        `main_class` (the label borne by most), `purity` (share of the labelled tiles
        that bear it), `labelled`, `called` (tiles with label and call), `errors`
        (calls unlike the label), `error_rate`, `largest_slide` (share of the tiles
        that are of one slide). NaN or None where there is nothing to count.
    """
    rows = []
    table = tiles.reset_index(drop=True)
    for number, own in table.groupby(np.asarray(numbers), sort=True):
        labels = own["class_name"].dropna()
        by_class = labels.value_counts()
        is_called = own["class_name"].notna() & own["called"].notna()
        is_wrong = is_called & (own["class_name"] != own["called"])
        n_called, n_wrong = int(is_called.sum()), int(is_wrong.sum())
        by_slide = own["slide_id"].value_counts()
        rows.append(
            {
                "cluster": int(str(number)) + 1,
                "tiles": len(own),
                "slides": len(by_slide),
                "patients": int(own["patient_id"].nunique()),
                "main_class": by_class.index[0] if len(by_class) else None,
                "purity": by_class.iloc[0] / len(labels) if len(by_class) else np.nan,
                "labelled": len(labels),
                "called": n_called,
                "errors": n_wrong,
                "error_rate": n_wrong / n_called if n_called else np.nan,
                "largest_slide": by_slide.iloc[0] / len(own),
            }
        )
    return pd.DataFrame(rows)


def measure_agreement(numbers: Labels, groups: pd.Series) -> float | None:
    """Find how far clusters follow other groups, such as classes or slides.

    Adjusted mutual information (Vinh 2010): 0 is chance, 1 is the same grouping. Tiles
    of no group are left out. None with one group only, or where most are one tile.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    is_known = groups.notna().to_numpy()
    known = groups[is_known].astype(str)
    n_groups = known.nunique()
    if n_groups < 2 or 2 * n_groups > len(known):
        return None
    return float(adjusted_mutual_info_score(known, np.asarray(numbers)[is_known]))


def _find_silhouette(
    points: npt.NDArray[np.float64], numbers: Labels, seed: int
) -> float | None:
    """Measure the mean silhouette; None where it is undefined."""
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng(seed)
    rows = np.arange(len(points))
    if len(rows) > _SILHOUETTE_TILES:
        rows = rng.choice(rows, _SILHOUETTE_TILES, replace=False)
    if not 2 <= len(np.unique(numbers[rows])) < len(rows):
        return None
    return float(silhouette_score(points[rows], numbers[rows]))


def _sort_by_size(numbers: npt.NDArray[np.integer]) -> Labels:
    """Number clusters anew, the largest first."""
    counts = np.bincount(numbers)
    place = np.empty(len(counts), np.int64)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.asarray(place[numbers])


def import_umap() -> Any:
    """Import umap-learn; a MissingExtraError where it is not installed."""
    try:
        return importlib.import_module("umap")
    except ImportError as error:
        raise MissingExtraError(
            "a map by UMAP needs umap-learn, which is not installed: pip install "
            "'eosin[umap]'; without it the map is made by t-SNE (--map tsne)"
        ) from error
