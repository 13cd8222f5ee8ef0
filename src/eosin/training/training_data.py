"""Which tiles or bags train, which validate, and what they are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, check_bags
from eosin.core import ConfigError

Rows = NDArray[np.int64]


class _Labelled:
    """What labels and the rows of two splits are asked for and checked for."""

    noun: ClassVar[str]
    labels: Rows
    train_rows: Rows
    val_rows: Rows
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """Classes, the negative one included."""
        return len(self.class_names)

    def find_missing(self, rows: Rows) -> list[str]:
        """Name the classes of which none of these rows is."""
        present = set(np.unique(self.labels[rows]).tolist())
        return [name for i, name in enumerate(self.class_names) if i not in present]

    def _check_split(
        self, split: str, rows: Rows, describe: Callable[[int], str]
    ) -> None:
        """Refuse rows that are not there, or have no label of a class."""
        n_rows, n_classes = len(self.labels), self.n_classes
        if len(rows) and (rows.min() < 0 or rows.max() >= n_rows):
            raise ConfigError(
                f"rows of {split} must be in 0..{n_rows - 1}, got "
                f"{rows.min()}..{rows.max()}"
            )
        labels = self.labels[rows]
        for place in np.flatnonzero((labels < 0) | (labels >= n_classes))[:1]:
            given = "none" if labels[place] < 0 else labels[place]
            raise ConfigError(
                f"{describe(int(rows[place]))} in {split} needs a label in "
                f"0..{n_classes - 1} ({', '.join(self.class_names)}), got {given}"
            )

    def _require(self, split: str, rows: Rows) -> None:
        if len(rows) == 0:
            raise ConfigError(
                f"no labelled {self.noun} is in {split}; give it slides with labels"
            )

    def _require_classes(self) -> None:
        if missing := self.find_missing(self.train_rows):
            names = ", ".join(f"'{name}'" for name in missing)
            raise ConfigError(
                f"train must hold {self.noun}s of every class, but has none of "
                f"{names}; label more slides, or split otherwise"
            )


@dataclass(frozen=True, eq=False)
class TrainingTiles(_Labelled):
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

    noun: ClassVar[str] = "tile"
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
            self._require(split, rows)
            self._check_split(split, rows, lambda row: f"tile {row}")
        if shared := len(np.intersect1d(self.train_rows, self.val_rows)):
            raise ConfigError(f"{shared} tiles are in train and in val; split anew")
        self._require_classes()

    @property
    def groups(self) -> NDArray[Any]:
        """What balancing counts as one: the slide."""
        return self.slide_ids


@dataclass(frozen=True, eq=False)
class TrainingBags(_Labelled):
    """Bags with labels, and the rows of two splits.

    Attributes:
        bags: All bags; a sequence that reads them when asked for will do.
        train_rows: Bags that are trained on.
        val_rows: Bags that choose the best epoch. Empty trains for all epochs
            and keeps the last.
        class_names: Name of each label; label 0 is the negative class.
        labels: Of every bag, `(bags,)`; -1 where there is none.

    Raises:
        ConfigError: Train is empty, the splits share a bag, a patient or a slide,
            a bag has no label or one without a class, or a class has no training
            bag.
        ManifestError: The bags do not fit each other.
    """

    noun: ClassVar[str] = "bag"
    bags: Sequence[Bag]
    train_rows: Rows
    val_rows: Rows
    class_names: tuple[str, ...]
    labels: Rows = field(init=False)

    def __post_init__(self) -> None:
        check_bags(self.bags)
        labels = [-1 if bag.label is None else bag.label for bag in self.bags]
        object.__setattr__(self, "labels", np.array(labels))
        self._require("train", self.train_rows)
        for split, rows in (("train", self.train_rows), ("val", self.val_rows)):
            self._check_split(split, rows, lambda row: self.bags[row].bag_id)
        self._check_sharing()
        self._require_classes()

    @property
    def n_features(self) -> int:
        """Numbers per instance."""
        return self.bags[0].n_features

    @cached_property
    def sizes(self) -> Rows:
        """Instances of every bag, `(bags,)`."""
        return np.array([len(bag) for bag in self.bags])

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """What balancing counts as one: the patient, or else the bag."""
        return np.array([bag.patient_id or f"bag {bag.bag_id}" for bag in self.bags])

    def _check_sharing(self) -> None:
        """Refuse bags, patients and slides that are on both sides."""
        train, val = (
            [self.bags[row] for row in rows]
            for rows in (self.train_rows, self.val_rows)
        )
        for kind, names in (
            ("bag", lambda bag: (bag.bag_id,)),
            ("patient", lambda bag: (bag.patient_id,) if bag.patient_id else ()),
            ("slide", lambda bag: bag.slide_ids),
        ):
            shared = _gather(map(names, train)) & _gather(map(names, val))
            if shared:
                first = ", ".join(sorted(shared)[:3])
                raise ConfigError(
                    f"{len(shared)} {kind}(s) are in train and in val ({first}); split "
                    f"by {'patient' if kind == 'patient' else kind} anew"
                )


def _gather(parts: Iterable[Iterable[str]]) -> set[str]:
    return {name for part in parts for name in part}
