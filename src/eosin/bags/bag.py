"""A bag: the instances of one slide, one patient or one drawn sample; its scores."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eosin.bags.clinical import ClinicalEncoding, ClinicalValues
from eosin.core import ManifestError, ModelError

Features = NDArray[np.float32]
Rows = NDArray[np.int64]

# Large bags are gone through in blocks of so many numbers (32 MiB as float32).
_BLOCK_NUMBERS = 1 << 23
_SHOWN = 10


class FeatureArray(Protocol):
    """What stands for features: an array, a memory map or an HDF5 data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(instances, features)`."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of the numbers."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Read some rows; a list of them rises."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Bag:
    """The instances of one slide, one patient or one drawn sample.

    Attributes:
        bag_id: Unique among the bags of a study.
        features: `(instances, features)`. An array is kept as float32 (a memory
            map of float32 is not copied) and checked at once; anything else
            (an HDF5 data set) is left where it is and checked as it is read.
        label: Of the bag, from 0. None where nobody knows it.
        coords: `(instances, 2)`, (x, y) of the instances' top-left corners in
            level-0 pixels of their slide. None where they are not known.
        instance_labels: `(instances,)`, from 0, for evaluation only; no method
            learns from them. None where they are not known.
        patient_id: None where it is not known.
        slide_ids: The slides that the instances come from. Empty where they are
            not known.
        clinical: The patient's values of columns that a model may take beside the
            instances, as texts, None for a missing one. None where nobody asked.

    Raises:
        ManifestError: There is no instance, a shape does not fit, or a value is
            not finite.
    """

    bag_id: str
    features: FeatureArray
    label: int | None = None
    coords: NDArray[Any] | None = None
    instance_labels: Rows | None = None
    patient_id: str | None = None
    slide_ids: tuple[str, ...] = ()
    clinical: ClinicalValues | None = None

    def __post_init__(self) -> None:
        if problem := next(self._find_problems(), None):
            raise ManifestError(f"{self.bag_id}: {problem}")
        if isinstance(self.features, np.ndarray):
            features = np.asarray(self.features, np.float32)
            object.__setattr__(self, "features", features)
            for block in self.list_blocks():
                self._check_finite(features[block], range(len(self))[block])

    def __len__(self) -> int:
        """Instances in the bag."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """Numbers per instance."""
        return int(self.features.shape[1])

    def read(self, rows: Rows | slice | None = None) -> Features:
        """Read features of some instances (rising) or of all, as float32.

        Returns:
            `(instances, features)`; not to be written to.

        Raises:
            ManifestError: A value is not finite.
        """
        chosen = slice(None) if rows is None else rows
        features = np.asarray(self.features[chosen], np.float32)
        if not isinstance(self.features, np.ndarray):
            places = range(len(self))[chosen] if isinstance(chosen, slice) else chosen
            self._check_finite(features, places)
        return features

    def encode_clinical(self, encoding: ClinicalEncoding) -> Features:
        """Encode the clinical columns that a model takes, `(numbers,)`.

        Raises:
            ModelError: The bag has none.
            ManifestError: A value does not fit its column.
        """
        if self.clinical is None:
            raise ModelError(
                f"{self.bag_id}: the model takes the clinical columns "
                f"{', '.join(encoding.names)} beside the instances; give them in the "
                "slide table (cells may be empty)"
            )
        return encoding.encode(self.clinical, owner=self.bag_id)

    def list_blocks(self) -> list[slice]:
        """List slices of bounded memory that cover all instances in order."""
        step = max(1, _BLOCK_NUMBERS // self.n_features)
        return [slice(i, i + step) for i in range(0, len(self), step)]

    def _find_problems(self) -> Iterator[str]:
        """Yield what does not fit, but for numbers that are not finite."""
        shape, kind = tuple(self.features.shape), np.dtype(self.features.dtype).kind
        if not self.bag_id:
            yield "a bag needs an id, got an empty text"
        if len(shape) != 2:
            yield f"features must be (instances, features), got the shape {shape}"
        elif 0 in shape:
            yield (
                f"a bag needs one instance or more, got features of the shape {shape}; "
                "leave the bag out, or find out why it has no tiles"
            )
        if kind not in "fiu":
            yield f"features must be real numbers, got {self.features.dtype}"
        if self.label is not None and self.label < 0:
            yield (
                f"a label must be 0 or more, got {self.label}; use None where it is "
                "not known"
            )
        labels, coords = self.instance_labels, self.coords
        if labels is not None and (
            labels.shape != shape[:1] or labels.dtype.kind not in "iub"
        ):
            yield (
                f"instance_labels must be {len(self)} whole numbers, one for each "
                f"instance, got {labels.dtype} of the shape {labels.shape}"
            )
        if coords is not None and (
            coords.shape != (len(self), 2) or not np.isfinite(coords).all()
        ):
            yield (
                f"coords must be {len(self)} finite pairs (x, y), one for each "
                f"instance, got the shape {coords.shape}"
            )

    def _check_finite(self, features: Features, rows: Sequence[int] | Rows) -> None:
        """Name the first value that is NaN or infinite."""
        is_finite = np.isfinite(features)
        if is_finite.all():
            return
        i, j = np.argwhere(~is_finite)[0]
        raise ManifestError(
            f"{self.bag_id}: features must be finite, got {features[i, j]} at instance "
            f"{rows[i]}, feature {j}; encode the slide anew"
        )


@dataclass(frozen=True, eq=False)
class BagScores:
    """What a model says of one bag.

    Attributes:
        logits: `(outputs,)`: one for two classes (above 0 means label 1), otherwise
            one for each class.
        attention: `(instances,)`, sums to 1.
        instance_logits: `(instances, outputs)`. None where the method scores no
            instances.
    """

    bag_id: str
    logits: Features
    attention: Features
    instance_logits: Features | None


def require_features(bag: Bag, dimension: int, *, are_pixels: bool) -> None:
    """Stop by a `ModelError` where a bag has not as many features as a model takes.

    `are_pixels` says whether the model takes the pixels of tiles.
    """
    if bag.n_features == dimension:
        return
    takes = f"{dimension} features per instance"
    remedy = "encode the bag with the encoder that the model was trained on"
    if are_pixels:
        takes = f"the pixels of tiles ({dimension} numbers each)"
        remedy = "give it tiles, or train a model of features"
    raise ModelError(
        f"{bag.bag_id}: the model takes {takes}, got {bag.n_features} features; "
        f"{remedy}"
    )


def check_bags(bags: Sequence[Bag]) -> None:
    """Check that bags can be learnt from together.

    Raises:
        ManifestError: There is no bag, two have one id, or they differ in their
            number of features.
    """
    if not bags:
        raise ManifestError("there must be one bag or more, got none")
    for problem in compare_dimensions(bags):
        raise ManifestError(problem)
    ids = Counter(bag.bag_id for bag in bags)
    if twice := [bag_id for bag_id, n in ids.items() if n > 1]:
        raise ManifestError(f"two bags have the id {twice[0]}; ids must differ")


def compare_dimensions(bags: Sequence[Bag]) -> list[str]:
    """Name the bags whose features are not like those of the most."""
    counts = Counter(bag.n_features for bag in bags)
    if len(counts) < 2:
        return []
    common, n = counts.most_common(1)[0]
    others = [f"{b.bag_id} ({b.n_features})" for b in bags if b.n_features != common]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return [
        f"all files must have as many features per tile, but {n} have {common}, and "
        f"others do not: {', '.join(others[:_SHOWN])}{more}; embed all with one encoder"
    ]
