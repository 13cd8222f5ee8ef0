"""A bag: the instances of one slide, one patient or one drawn sample; its scores."""

from collections.abc import Sequence
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
        if not self.bag_id:
            raise ManifestError("a bag needs an id, got an empty text")
        self._check_shape()
        if isinstance(self.features, np.ndarray):
            features = np.asarray(self.features, np.float32)
            object.__setattr__(self, "features", features)
            for block in self.list_blocks():
                self._check_finite(features[block], range(len(self))[block])
        if self.label is not None and self.label < 0:
            raise ManifestError(
                f"{self.bag_id}: a label must be 0 or more, got {self.label}; use None "
                "where it is not known"
            )
        self._check_instance_labels()
        self._check_coords()

    def __len__(self) -> int:
        """Instances in the bag."""
        return int(self.features.shape[0])

    @property
    def n_features(self) -> int:
        """Numbers per instance."""
        return int(self.features.shape[1])

    def read(self, rows: Rows | slice | None = None) -> Features:
        """Read features as float32, finite ones only.

        Args:
            rows: Instances to read, rising. None reads all.

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

    def _check_shape(self) -> None:
        shape = tuple(self.features.shape)
        if len(shape) != 2:
            raise ManifestError(
                f"{self.bag_id}: features must be (instances, features), got the shape "
                f"{shape}"
            )
        if 0 in shape:
            raise ManifestError(
                f"{self.bag_id}: a bag needs one instance or more, got features of the "
                f"shape {shape}; leave the bag out, or find out why it has no tiles"
            )
        if np.dtype(self.features.dtype).kind not in "fiu":
            raise ManifestError(
                f"{self.bag_id}: features must be real numbers, got "
                f"{self.features.dtype}"
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

    def _check_instance_labels(self) -> None:
        labels = self.instance_labels
        if labels is None:
            return
        if labels.shape != (len(self),) or labels.dtype.kind not in "iub":
            raise ManifestError(
                f"{self.bag_id}: instance_labels must be {len(self)} whole numbers, "
                f"one for each instance, got {labels.dtype} of the shape {labels.shape}"
            )

    def _check_coords(self) -> None:
        coords = self.coords
        if coords is None:
            return
        if coords.shape != (len(self), 2) or not np.isfinite(coords).all():
            raise ManifestError(
                f"{self.bag_id}: coords must be {len(self)} finite pairs (x, y), one "
                f"for each instance, got the shape {coords.shape}"
            )


@dataclass(frozen=True, eq=False)
class BagScores:
    """What a model says of one bag.

    Attributes:
        bag_id: The bag.
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
    """Stop where a bag has other instances than a model takes.

    Args:
        bag: The bag.
        dimension: Numbers per instance that the model takes.
        are_pixels: Whether these are the pixels of tiles.

    Raises:
        ModelError: It has.
    """
    if bag.n_features == dimension:
        return
    if are_pixels:
        raise ModelError(
            f"{bag.bag_id}: the model takes the pixels of tiles ({dimension} numbers "
            f"each), got {bag.n_features} features; give it tiles, or train a model of "
            "features"
        )
    raise ModelError(
        f"{bag.bag_id}: the model takes {dimension} features per instance, got "
        f"{bag.n_features}; encode the bag with the encoder that the model was trained "
        "on"
    )


def check_bags(bags: Sequence[Bag]) -> int:
    """Check that bags can be learnt from together.

    Returns:
        Their number of features.

    Raises:
        ManifestError: There is no bag, two have one id, or they differ in their
            number of features.
    """
    if not bags:
        raise ManifestError("there must be one bag or more, got none")
    first, seen = bags[0], set()
    for bag in bags:
        if bag.n_features != first.n_features:
            raise ManifestError(
                f"all bags must have as many features as each other, but "
                f"{first.bag_id} has {first.n_features} and {bag.bag_id} has "
                f"{bag.n_features}; encode both with the same encoder"
            )
        if bag.bag_id in seen:
            raise ManifestError(f"two bags have the id {bag.bag_id}; ids must differ")
        seen.add(bag.bag_id)
    return first.n_features
