"""Which bags train, which validate, and how their features are scaled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eosin.bags import Bag, check_bags
from eosin.core import ConfigError
from eosin.training.training_tiles import Rows


@dataclass(frozen=True, eq=False)
class TrainingBags:
    """Bags with labels, and the rows of two splits.

    Attributes:
        bags: All bags; a sequence that reads them when asked for will do.
        train_rows: Bags that are trained on.
        val_rows: Bags that choose the best epoch. Empty trains for all epochs
            and keeps the last.
        class_names: Name of each label; label 0 is the negative class.

    Raises:
        ConfigError: Train is empty, the splits share a bag, a patient or a slide,
            a bag has no label or one without a class, or a class has no training
            bag.
        ManifestError: The bags do not fit each other.
    """

    bags: Sequence[Bag]
    train_rows: Rows
    val_rows: Rows
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_bags(self.bags)
        if len(self.train_rows) == 0:
            raise ConfigError("no bag is in train; give it slides with labels")
        for split, rows in (("train", self.train_rows), ("val", self.val_rows)):
            self._check_split(split, rows)
        self._check_sharing()
        if missing := self.find_missing(self.train_rows):
            names = ", ".join(f"'{name}'" for name in missing)
            raise ConfigError(
                f"train must hold bags of every class, but has none of {names}; split "
                "otherwise, or label more slides"
            )

    @property
    def n_classes(self) -> int:
        """Classes, the negative one included."""
        return len(self.class_names)

    @property
    def n_features(self) -> int:
        """Numbers per instance."""
        return self.bags[0].n_features

    @cached_property
    def labels(self) -> Rows:
        """Of every bag, `(bags,)`; -1 where there is none."""
        return np.array([-1 if b.label is None else b.label for b in self.bags])

    @cached_property
    def sizes(self) -> Rows:
        """Instances of every bag, `(bags,)`."""
        return np.array([len(bag) for bag in self.bags])

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """What balancing counts as one: the patient, or else the bag."""
        return np.array([bag.patient_id or f"bag {bag.bag_id}" for bag in self.bags])

    def find_missing(self, rows: Rows) -> list[str]:
        """Name the classes of which none of these bags is."""
        present = set(np.unique(self.labels[rows]).tolist())
        return [name for i, name in enumerate(self.class_names) if i not in present]

    def _check_split(self, split: str, rows: Rows) -> None:
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.bags)):
            raise ConfigError(
                f"rows of {split} must be in 0..{len(self.bags) - 1}, got "
                f"{rows.min()}..{rows.max()}"
            )
        for row in rows:
            label = int(self.labels[row])
            if not 0 <= label < self.n_classes:
                given = "none" if label < 0 else label
                raise ConfigError(
                    f"{self.bags[row].bag_id} in {split} needs a label in "
                    f"0..{self.n_classes - 1} ({', '.join(self.class_names)}), "
                    f"got {given}"
                )

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


def find_statistics(
    bags: Sequence[Bag], rows: Rows
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find each feature's mean and deviation over all instances of some bags.

    Computed block by block, so that memory is bounded whatever the bags' sizes.

    Args:
        bags: All bags.
        rows: The training bags; no other bag may have a say.

    Returns:
        `(mean, deviation)`, each `(features,)`.
    """
    n_seen = 0
    mean: NDArray[np.float64] = np.zeros(bags[rows[0]].n_features)
    squares = np.zeros_like(mean)
    for row in rows:
        bag = bags[row]
        for block in bag.list_blocks():
            # Merged as Chan et al., 1983, which loses no digits to a large mean.
            features = bag.read(block).astype(np.float64)
            n_new = len(features)
            step = features.mean(axis=0) - mean
            n_seen += n_new
            mean += step * (n_new / n_seen)
            squares += n_new * features.var(axis=0)
            squares += step**2 * (n_new * (n_seen - n_new) / n_seen)
    return mean, np.sqrt(squares / n_seen)


def _gather(parts: Iterable[Iterable[str]]) -> set[str]:
    return {name for part in parts for name in part}
