"""What a model predicts: how its output is read, called, scored and learnt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ConfigError
from eosin.evaluation.calibration import compute_probabilities
from eosin.evaluation.metrics import METRICS, Metric, Sample
from eosin.evaluation.ranking import Floats, Ints, list_ranked

# One for all rows, or one for each; None with more than two classes.
Threshold = float | Floats | None


class Target(Protocol):
    """What a model predicts of a unit, of whatever kind."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of a prediction table, in the order of the values."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """By which predictions are scored."""

    @property
    def loss(self) -> str:
        """What is made small in training, by its name in Keras."""

    def activate(self, logits: npt.NDArray[np.floating], temperature: float) -> Floats:
        """Turn a model's output into what the columns hold."""

    def call(self, values: Floats, threshold: Threshold) -> Ints:
        """Say what each row is called."""


@dataclass(frozen=True)
class Classes:
    """Two classes, of which the second is looked for, or more that exclude each other.

    Attributes:
        class_names: In the order of the labels; label 0 is the negative class.

    Raises:
        ConfigError: There are no two different names, or one comes twice.
    """

    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        names = self.class_names
        if len(names) < 2 or len(set(names)) != len(names):
            raise ConfigError(
                f"two or more different class names are needed, got {list(names)}"
            )

    @property
    def is_binary(self) -> bool:
        """Whether there are two, so that calls are made at a threshold."""
        return len(self.class_names) == 2

    @property
    def ranked(self) -> tuple[int, ...]:
        """The classes that are scored against the rest: of two the second, else all."""
        return list_ranked(len(self.class_names))

    @property
    def columns(self) -> tuple[str, ...]:
        """`probability_<class>` of each class."""
        return tuple(probability_columns(self.class_names))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All of `METRICS`."""
        return METRICS

    @property
    def loss(self) -> str:
        """The cross entropy of one logit for two classes, else of one for each."""
        return "binary_crossentropy" if self.is_binary else "categorical_crossentropy"

    def activate(
        self, logits: npt.NDArray[np.floating], temperature: float = 1.0
    ) -> Floats:
        """Turn logits, `(rows, 1)` of two classes, into probabilities of each class.

        Raises:
            ValueError: The temperature is not above 0, or the logits are of others.
        """
        values = compute_probabilities(logits, temperature)
        if values.shape[1] != len(self.class_names):
            raise ValueError(
                f"logits must be of {len(self.class_names)} classes, got an array of "
                f"shape {np.shape(logits)}"
            )
        return values

    def call(self, values: Floats, threshold: Threshold) -> Ints:
        """Turn probabilities into called classes, `(rows,)`.

        Args:
            values: `(rows, classes)`.
            threshold: Of two classes the second is called where its probability
                reaches it. Not used with more, called for the highest probability.

        Raises:
            ValueError: Two classes come without a threshold.
        """
        return call_classes(values, threshold)

    def describe_call(
        self,
        threshold: float | None,
        *,
        noun: str = "slide",
        quantity: str = "probability",
    ) -> str:
        """Say in a sentence when a slide is called what.

        Args:
            threshold: Of the second class; not used with more than two.
            noun: What is called.
            quantity: What the threshold is on.
        """
        if not self.is_binary or threshold is None:
            return f"A {noun} is called what it is most probably."
        return (
            f"A {noun} is called {self.class_names[1]} from a {quantity} of "
            f"{threshold:.3f}."
        )

    def find_shown(self, values: Floats) -> Ints:
        """Find the class whose probability stands for a row: of two the second.

        With more classes it is the most probable one.
        """
        if self.is_binary:
            return np.ones(len(values), np.int64)
        return np.asarray(values.argmax(axis=1), np.int64)

    def find_margins(
        self, labels: Ints, values: Floats, threshold: Threshold
    ) -> Floats:
        """Measure how far each probability lies beyond what a right call needs.

        Args:
            labels: `(rows,)`; what those without one get, below 0, means nothing.
            values: `(rows, classes)`.
            threshold: As for `call`.

        Returns:
            `(rows,)`, above 0 where the call is wrong.
        """
        if self.is_binary and threshold is not None:
            excess = values[:, 1] - threshold
            return np.where(labels == 1, -excess, excess)
        rows = np.arange(len(labels))
        others = values.copy()
        others[rows, labels] = 0
        return np.asarray(others.max(axis=1, initial=0) - values[rows, labels])

    def take(self, table: pd.DataFrame) -> Floats:
        """Take the probabilities out of a prediction table, `(rows, classes)`."""
        return table[list(self.columns)].to_numpy(np.float64)

    def sample(self, labels: Ints, values: Floats, threshold: Threshold) -> Sample:
        """Make labels and probabilities ready to be scored, each row once.

        Args:
            labels: `(rows,)`, 0 to classes - 1.
            values: `(rows, classes)`.
            threshold: As for `call`.

        Raises:
            ValueError: There are no rows, a shape or a label does not fit, or two
                classes come without a threshold.
        """
        n_classes = len(self.class_names)
        if labels.shape != (len(values),) or values.shape != (len(labels), n_classes):
            raise ValueError(
                f"a label and {n_classes} probabilities are needed for each row, got "
                f"arrays of shape {labels.shape} and {values.shape}"
            )
        if not len(labels):
            raise ValueError("at least one row is needed, got none")
        if labels.min() < 0 or labels.max() >= n_classes:
            raise ValueError(
                f"labels must be 0 to {n_classes - 1}, got {labels.min()} to "
                f"{labels.max()}; leave rows without a label out"
            )
        if not np.isfinite(values).all():
            raise ValueError(
                "probabilities must be finite numbers, got NaN or infinity"
            )
        shown = self.find_shown(values)
        return Sample(
            class_names=self.class_names,
            labels=labels,
            predicted=values,
            called=self.call(values, threshold),
            ranked=self.ranked,
            shown=values[np.arange(len(values)), shown],
            is_true=labels == shown,
            groups=np.zeros(len(labels), np.int64),
        )


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """Name the probability column of each class, in the order of the labels."""
    return [f"probability_{name}" for name in class_names]


def call_classes(values: Floats, threshold: Threshold) -> Ints:
    """Turn probabilities into called classes, as `Classes.call` does."""
    if values.shape[1] > 2:
        return np.asarray(values.argmax(axis=1), np.int64)
    if threshold is None:
        raise ValueError("two classes need a threshold, got None")
    return np.asarray(values[:, 1] >= threshold, np.int64)
