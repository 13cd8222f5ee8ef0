from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from eosin.evaluation import METRICS, Classes
from eosin.evaluation.metrics import measure

NAMES = ("normal", "tumour", "necrosis", "stroma")


def two_columns(scores):
    scores = np.asarray(scores, dtype=float)
    return np.stack([1 - scores, scores], axis=1)


def find_values(labels, values, threshold=0.5):
    target = Classes(NAMES[: values.shape[1]])
    sample = target.sample(np.asarray(labels), values, threshold)
    return {metric.name: measure(metric, sample) for metric in METRICS}


def find_ece(sample):
    """Scikit-learn has none: by hand, over ten equal bins."""
    bins = np.digitize(sample.shown, np.arange(1, 10) / 10)
    gaps = [
        abs((sample.shown - sample.is_true)[bins == i].sum()) for i in np.unique(bins)
    ]
    return sum(gaps) / len(bins)


def average(score):
    """Score the positive class of two, or each class against the rest."""
    return lambda s: np.mean([score(s, i) for i in s.ranked])


# What another library says of each metric of the registry.
ORACLES = {
    "roc_auc": average(lambda s, i: sk.roc_auc_score(s.labels == i, s.predicted[:, i])),
    "average_precision": average(
        lambda s, i: sk.average_precision_score(s.labels == i, s.predicted[:, i])
    ),
    "sensitivity": average(lambda s, i: sk.recall_score(s.labels == i, s.called == i)),
    "specificity": average(lambda s, i: sk.recall_score(s.labels != i, s.called != i)),
    "balanced_accuracy": lambda s: sk.balanced_accuracy_score(s.labels, s.called),
    "accuracy": lambda s: sk.accuracy_score(s.labels, s.called),
    "f1": average(lambda s, i: sk.f1_score(s.labels == i, s.called == i)),
    "brier": lambda s: sum(
        sk.brier_score_loss(s.labels == i, s.predicted[:, i]) for i in s.ranked
    ),
    "ece": find_ece,
}


@st.composite
def samples(choose):
    """A few patients' rows, with tied scores, and one resample of the patients."""
    n_classes = choose(st.sampled_from([2, 2, 3, 4]))
    n_groups = choose(st.integers(2, 4))
    n_rows = choose(st.integers(n_groups, 20))
    rng = np.random.default_rng(choose(st.integers(0, 2**16)))
    parts = rng.integers(1, 6, (n_rows, n_classes)).astype(float)
    sample = Classes(NAMES[:n_classes]).sample(
        rng.integers(0, n_classes, n_rows),
        parts / parts.sum(axis=1, keepdims=True),
        0.5,
    )
    groups = np.concatenate(
        [np.arange(n_groups), rng.integers(0, n_groups, n_rows - n_groups)]
    )
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups))
    return replace(sample, groups=groups, counts=counts[None].astype(float))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@settings(max_examples=30, deadline=None)
@given(samples())
def test_a_resample_has_what_another_library_says_of_repeated_rows(metric, sample):
    rows = np.repeat(
        np.arange(len(sample.labels)), sample.counts[0, sample.groups].astype(int)
    )
    repeated = replace(
        sample,
        **{
            name: getattr(sample, name)[rows]
            for name in ("labels", "predicted", "called", "shown", "is_true")
        },
        groups=np.zeros(len(rows), int),
        counts=np.ones((1, 1)),
    )
    value, reason = measure(metric, repeated)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = metric.resampled(sample)[0]
    if value is None:
        assert reason
        assert np.isnan(resampled)
    else:
        assert reason is None
        assert value == pytest.approx(ORACLES[metric.name](repeated), abs=1e-12)
        assert resampled == pytest.approx(value, abs=1e-12)


def test_each_metric_is_named_once_and_has_words():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.title[0].isupper()
        assert metric.explain(2).endswith(".")
        assert metric.explain(3).endswith(".")
    first = METRICS[0]
    assert first.explain(2) != first.explain(3)


def test_calls_at_the_threshold_are_counted_by_hand():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    scores = [0.9, 0.6, 0.2, 0.6, 0.1, 0.1, 0.1, 0.59]
    found = find_values(labels, two_columns(scores), 0.6)
    values = {name: value for name, (value, _) in found.items()}
    # A score on the threshold is positive: 2 of 3 found, 1 of 5 called wrongly.
    assert values["sensitivity"] == pytest.approx(2 / 3)
    assert values["specificity"] == pytest.approx(4 / 5)
    assert values["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert values["accuracy"] == pytest.approx(6 / 8)
    assert values["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    errors = [0.01, 0.16, 0.64, 0.36, 0.01, 0.01, 0.01, 0.59**2]
    assert values["brier"] == pytest.approx(sum(errors) / 8)


@pytest.mark.parametrize(
    ("labels", "undefined", "word"),
    [
        (
            [0, 0],
            {"roc_auc", "average_precision", "balanced_accuracy", "sensitivity"},
            "tumour",
        ),
        ([1, 1], {"roc_auc", "balanced_accuracy"}, "normal"),
    ],
)
def test_one_class_leaves_metrics_undefined_with_a_reason(labels, undefined, word):
    found = find_values(labels, two_columns([0.2, 0.7]))
    for name in undefined:
        assert found[name] == (None, f"no row has the label {word}")
    others = {name for name, (value, _) in found.items() if value is None} - undefined
    assert others == ({"specificity"} if labels[0] else set())
    if labels[0]:
        assert found["specificity"][1] == "every row has the label tumour"


def test_f1_needs_a_positive_row_or_call():
    value, reason = find_values([0, 0], two_columns([0.2, 0.3]))["f1"]
    assert value is None
    assert reason == "no row has or is called tumour"


def test_a_class_of_several_that_is_absent_is_named():
    values = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    found = find_values([0, 1], values)
    for name in ("roc_auc", "average_precision", "sensitivity", "f1"):
        assert found[name][0] is None
        assert "necrosis" in found[name][1]
    assert found["specificity"][0] == 1
    alone = find_values([0, 0], values)
    assert alone["specificity"][1] == "every row has the label normal"
