"""Arrays of features that stand for others: several in a row, or some rows of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.bags.bag import FeatureArray


class JoinedFeatures:
    """Features of several files, one after the other, left where they are.

    Stands for an array of shape `shape`.

    Args:
        parts: Of one dimension, each `(instances, features)`.
    """

    def __init__(self, parts: Sequence[FeatureArray]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(int(part.shape[0]) for part in parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), int(parts[0].shape[1]))
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """Read some rows: a slice, or numbers in any order."""
        wanted = np.arange(self.shape[0])[rows]
        out = np.empty((len(wanted), self.shape[1]), self.dtype)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for index in np.unique(owner):
            places = np.flatnonzero(owner == index)
            own = wanted[places] - self._starts[index]
            # HDF5 takes rising rows only.
            order = np.argsort(own, kind="stable")
            out[places[order]] = _read_rising(self._parts[index], own[order])
        return out


class DrawnFeatures:
    """Rows of a larger array, which many bags share.

    Args:
        features: `(tiles, features)`.
        rows: Which of them, in order.
    """

    def __init__(self, features: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
        self._features, self._rows = features, rows
        self.shape: tuple[int, ...] = (len(rows), features.shape[1])
        self.dtype = features.dtype

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """Read some rows: a slice, or numbers in any order."""
        return np.asarray(self._features[self._rows[rows]])


def _read_rising(part: FeatureArray, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Read rows that rise but may repeat, which HDF5 refuses."""
    once, back = np.unique(rows, return_inverse=True)
    # A run of rows is read in one go.
    is_run = len(once) == once[-1] - once[0] + 1
    found = part[slice(int(once[0]), int(once[-1]) + 1) if is_run else once]
    return np.asarray(found)[back]
