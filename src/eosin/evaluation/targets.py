"""What a model predicts: how its output is read, called, scored and learnt."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ConfigError
from eosin.evaluation.calibration import compute_probabilities
from eosin.evaluation.metrics import METRICS, Metric, Sample
from eosin.evaluation.ranking import Floats, Ints, list_ranked

# One for all rows, or one for each; None with more than two classes.
Threshold = float | Floats | None


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
        return tuple(f"probability_{name}" for name in self.class_names)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All of `METRICS`."""
        return METRICS

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
        """Turn probabilities `(rows, classes)` into called classes, `(rows,)`.

        Of two classes the second is called where its probability reaches the threshold,
        with more the one with the highest probability.

        Raises:
            ValueError: Two classes come without a threshold.
        """
        if not self.is_binary:
            return np.asarray(values.argmax(axis=1), np.int64)
        if threshold is None:
            raise ValueError("two classes need a threshold, got None")
        return np.asarray(values[:, 1] >= threshold, np.int64)

    def describe_call(
        self,
        threshold: float | None,
        *,
        noun: str = "slide",
        quantity: str = "probability",
    ) -> str:
        """Say in a sentence when something is called what.

        `noun` is what is called, `quantity` what the threshold of the second class is
        on.
        """
        if not self.is_binary or threshold is None:
            return f"A {noun} is called what it is most probably."
        return (
            f"A {noun} is called {self.class_names[1]} from a {quantity} of "
            f"{threshold:.3f}."
        )

    def find_shown(self, values: Floats) -> Ints:
        """Find the class whose probability stands for a row.

        Of two it is the second, else the most probable one.
        """
        if self.is_binary:
            return np.ones(len(values), np.int64)
        return np.asarray(values.argmax(axis=1), np.int64)

    def find_margins(
        self, labels: Ints, values: Floats, threshold: Threshold
    ) -> Floats:
        """Measure how far each probability lies beyond what a right call needs.

        That is `(rows,)`, above 0 where the call is wrong; of a row without a label
        (below 0) it means nothing.
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
        """Make labelled rows ready to be scored, each of them once."""
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
