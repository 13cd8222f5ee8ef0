"""Which tiles train, which validate, and what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrainingTiles:
    """Labels of the tiles of a manifest, and the rows of two splits.

    Attributes:
        labels: `(tiles,)`, from 0; rows in neither split may hold anything.
        slide_ids: `(tiles,)`, what balancing counts as one slide.
        train_rows: Rows that are trained on.
        val_rows: Rows that choose the best epoch.
        class_names: Name of each label; label 0 is the negative class.

    Raises:
        ConfigError: The lengths differ, a split is empty or shares a row with
            the other, a label has no class, or a class has no training tile.
    """

    labels: Rows
    slide_ids: NDArray[Any]
    train_rows: Rows
    val_rows: Rows
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.slide_ids):
            raise ConfigError(
                f"labels and slide_ids must be as long as each other, got "
                f"{len(self.labels)} and {len(self.slide_ids)}"
            )
        for split, rows in (("train", self.train_rows), ("val", self.val_rows)):
            self._check_split(split, rows)
        if shared := len(np.intersect1d(self.train_rows, self.val_rows)):
            raise ConfigError(f"{shared} tiles are in train and in val; split anew")
        if missing := self.find_missing(self.train_rows):
            raise ConfigError(
                f"train must hold tiles of every class, but has none of "
                f"{_name(missing)}; annotate more slides, or split otherwise"
            )

    def _check_split(self, split: str, rows: Rows) -> None:
        if len(rows) == 0:
            raise ConfigError(
                f"no labelled tile is in {split}; give it slides with labels"
            )
        if rows.min() < 0 or rows.max() >= len(self.labels):
            raise ConfigError(
                f"rows of {split} must be in 0..{len(self.labels) - 1}, got "
                f"{rows.min()}..{rows.max()}"
            )
        labels = self.labels[rows]
        if labels.min() < 0 or labels.max() >= self.n_classes:
            raise ConfigError(
                f"labels in {split} must be in 0..{self.n_classes - 1} "
                f"({', '.join(self.class_names)}), got {labels.min()}..{labels.max()}"
            )

    @property
    def n_classes(self) -> int:
        """Classes, the negative one included."""
        return len(self.class_names)

    def find_missing(self, rows: Rows) -> list[str]:
        """Name the classes of which none of these rows is."""
        present = set(np.unique(self.labels[rows]).tolist())
        return [name for i, name in enumerate(self.class_names) if i not in present]


def _name(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
