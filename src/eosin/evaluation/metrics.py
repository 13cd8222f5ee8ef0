"""Every metric, once: its name, its words, and its value in any resample.

A resample draws groups of rows (patients), so it is a count for each group. The value
of a metric itself is the resample in which every row counts once. All but the two of
ranking follow from sums over a group's rows, and a resample's sums are then the product
of its counts with the groups' sums.

Two classes are scored on the probability of class 1, the positive class, and its calls
at a threshold. With more classes every row is called for its most probable class, and
each metric but accuracy and the two of calibration is the plain mean over classes of
the class against the rest. With more than two classes sensitivity is therefore the same
number as balanced accuracy.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eosin.evaluation.calibration import N_BINS, assign_bins
from eosin.evaluation.ranking import Floats, Ints, Ranking, rank_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Labelled rows with what a model says of them, and how often each counts.

    Attributes:
        class_names: In the order of the labels.
        labels: `(rows,)`.
        predicted: Probabilities, `(rows, classes)`.
        called: The class that each row is called, `(rows,)`.
        ranked: The classes that are scored against the rest.
        shown: The one probability that stands for each row, `(rows,)`.
        is_true: Whether what it is the probability of came true, `(rows,)`.
        groups: Number of each row's group, which is drawn as a whole, `(rows,)`.
        counts: How often each group counts in each resample, `(resamples, groups)`.
    """

    class_names: tuple[str, ...]
    labels: Ints
    predicted: Floats
    called: Ints
    ranked: tuple[int, ...]
    shown: Floats
    is_true: npt.NDArray[np.bool_]
    groups: Ints
    counts: Floats = field(default_factory=lambda: np.ones((1, 1)))

    @cached_property
    def confusion(self) -> Floats:
        """Rows by label and called class, `(resamples, classes, classes)`."""
        n = len(self.class_names)
        return self.sum_cells(self.labels * n + self.called, n**2).reshape(-1, n, n)

    @cached_property
    def rankings(self) -> tuple[Ranking, ...]:
        """The ranking of each class of `ranked` against the rest."""
        return tuple(
            rank_rows(self.labels == i, self.predicted[:, i], self.groups, self.counts)
            for i in self.ranked
        )

    def average(self, values: Floats) -> Floats:
        """Average something over the rows, `(resamples,)`."""
        one = np.zeros(len(values), np.int64)
        return np.asarray(self.sum_cells(one, 1, values) / self.sum_cells(one, 1))[:, 0]

    def sum_cells(
        self, cells: Ints, n_cells: int, weights: Floats | None = None
    ) -> Floats:
        """Sum rows, or their weights, by the cell they are in, `(resamples, cells)`."""
        n_groups = self.counts.shape[1]
        index = self.groups * n_cells + cells
        sums = np.bincount(index, weights=weights, minlength=n_groups * n_cells)
        return np.asarray(self.counts @ sums.reshape(n_groups, n_cells).astype(float))


@dataclass(frozen=True)
class Metric:
    """How well probabilities agree with labels, in one number.

    Attributes:
        name: In files.
        words: In a sentence.
        meaning: One sentence for who has never met it.
        resampled: Its value in each resample, `(resamples,)`; NaN where undefined.
        of_many: Its meaning with more than two classes; None where it is the same.
        find_lack: Says why it is undefined on these rows.
        is_lower_better: True for errors.
        is_centred: Whether resamples are brought to the mean of the value itself.
    """

    name: str
    words: str
    meaning: str
    resampled: Callable[[Sample], Floats]
    of_many: str | None = None
    find_lack: Callable[[Sample], str] = lambda sample: "it is not defined here"
    is_lower_better: bool = False
    is_centred: bool = False

    @property
    def title(self) -> str:
        """Its words at the start of a line."""
        return self.words[:1].upper() + self.words[1:]

    def explain(self, n_classes: int) -> str:
        """Say what it means with so many classes."""
        return self.meaning if n_classes == 2 else self.of_many or self.meaning


def measure(metric: Metric, sample: Sample) -> tuple[float | None, str | None]:
    """Return a metric's value, None where it is undefined, and then why."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(metric.resampled(sample)[0])
    return (value, None) if np.isfinite(value) else (None, metric.find_lack(sample))


def _average_ranked(values: Floats, sample: Sample) -> Floats:
    """Average `(resamples, classes)` over the classes that are scored."""
    return np.asarray(values[:, list(sample.ranked)].mean(axis=1))


def _count_right(sample: Sample) -> Floats:
    return np.asarray(np.diagonal(sample.confusion, axis1=1, axis2=2))


def _find_recall(sample: Sample) -> Floats:
    return np.asarray(_count_right(sample) / sample.confusion.sum(axis=2))


def _resample_roc_auc(sample: Sample) -> Floats:
    return np.asarray(np.mean([r.roc_auc for r in sample.rankings], axis=0))


def _resample_precision(sample: Sample) -> Floats:
    parts = [ranking.average_precision for ranking in sample.rankings]
    return np.asarray(np.mean(parts, axis=0))


def _resample_specificity(sample: Sample) -> Floats:
    n_wrong = sample.confusion.sum(axis=1) - _count_right(sample)
    n_label = sample.confusion.sum(axis=2)
    n_others = n_label.sum(axis=1, keepdims=True) - n_label
    return _average_ranked(1 - n_wrong / n_others, sample)


def _resample_f1(sample: Sample) -> Floats:
    n_either = sample.confusion.sum(axis=2) + sample.confusion.sum(axis=1)
    return _average_ranked(2 * _count_right(sample) / n_either, sample)


def _resample_brier(sample: Sample) -> Floats:
    ranked = list(sample.ranked)
    errors = sample.predicted[:, ranked] - (sample.labels[:, None] == ranked)
    return sample.average((errors**2).sum(axis=1))


def _resample_ece(sample: Sample) -> Floats:
    bins = assign_bins(sample.shown)
    # Within a bin, rows times |mean probability - observed share| is |sum of gaps|.
    gaps = sample.sum_cells(bins, N_BINS, sample.shown - sample.is_true)
    return np.asarray(np.abs(gaps).sum(axis=1) / sample.confusion.sum(axis=(1, 2)))


def _name_absent(sample: Sample, classes: Iterable[int], what: str) -> str:
    present = set(sample.labels.tolist())
    names = [sample.class_names[i] for i in classes if i not in present]
    return f"no row {what} {' or '.join(names)}"


def _lack_class(sample: Sample) -> str:
    return _name_absent(sample, range(len(sample.class_names)), "has the label")


def _lack_positive(sample: Sample) -> str:
    return _name_absent(sample, sample.ranked, "has the label")


def _lack_negative(sample: Sample) -> str:
    return f"every row has the label {sample.class_names[sample.labels[0]]}"


def _lack_either(sample: Sample) -> str:
    called = set(sample.called.tolist())
    uncalled = [i for i in sample.ranked if i not in called]
    return _name_absent(sample, uncalled, "has or is called")


METRICS = (
    Metric(
        "roc_auc",
        "ROC AUC",
        "How often a positive one is ranked above a negative one; 0.5 is guessing.",
        _resample_roc_auc,
        "How often one of a class is ranked above one of another; mean over classes.",
        _lack_class,
    ),
    Metric(
        "average_precision",
        "average precision",
        "Share of true positives among those called, over all thresholds.",
        _resample_precision,
        "Share of right calls of a class over all thresholds; mean over classes.",
        _lack_positive,
    ),
    Metric(
        "sensitivity",
        "sensitivity",
        "Share of the positive ones that are found.",
        lambda sample: _average_ranked(_find_recall(sample), sample),
        "Share of a class found; mean over classes.",
        _lack_positive,
    ),
    Metric(
        "specificity",
        "specificity",
        "Share of the negative ones that are left alone.",
        _resample_specificity,
        "Share of the other classes left alone; mean over classes.",
        _lack_negative,
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        "Mean of sensitivity and specificity.",
        lambda sample: _find_recall(sample).mean(axis=1),
        "With several classes the same as sensitivity.",
        _lack_class,
    ),
    Metric(
        "accuracy",
        "accuracy",
        "Share of right calls, however rare a class is.",
        lambda sample: (
            _count_right(sample).sum(axis=1) / sample.confusion.sum(axis=(1, 2))
        ),
    ),
    Metric(
        "f1",
        "F1",
        "Balance of sensitivity and precision at the threshold.",
        _resample_f1,
        "Balance of sensitivity and precision; mean over classes.",
        _lack_either,
    ),
    Metric(
        "brier",
        "Brier score",
        "Squared error of the probabilities; 0 is perfect.",
        _resample_brier,
        is_lower_better=True,
    ),
    Metric(
        "ece",
        "calibration error",
        "How far probabilities are from how often they come true.",
        _resample_ece,
        is_lower_better=True,
        # It sums up absolute gaps, and resampling widens every gap: the interval could
        # lie wholly above the value.
        is_centred=True,
    ),
)
"""All metrics, in the order of pages and of `metrics.json`."""
