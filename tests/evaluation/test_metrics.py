import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from eosin.evaluation import (
    METRIC_NAMES,
    call_classes,
    compute_metrics,
    compute_roc_auc,
    count_confusion,
)


def two_columns(scores):
    scores = np.asarray(scores, dtype=float)
    return np.stack([1 - scores, scores], axis=1)


def test_auc_is_the_share_of_pairs_in_the_right_order():
    labels = np.array([0, 0, 1, 1, 0, 1])
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.35, 0.9])
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, n in itertools.product(scores[labels == 1], scores[labels == 0])
    ]
    # 0.35 beats 0.1, ties with 0.35, loses to 0.4; 0.8 and 0.9 beat all three.
    assert sum(pairs) == 7.5
    found = compute_metrics(labels, two_columns(scores), threshold=0.5)
    assert found["roc_auc"].value == pytest.approx(7.5 / 9)


def test_calls_at_the_threshold_are_counted_by_hand():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    scores = [0.9, 0.6, 0.2, 0.6, 0.1, 0.1, 0.1, 0.59]
    found = compute_metrics(labels, two_columns(scores), threshold=0.6)
    values = {name: metric.value for name, metric in found.items()}
    # A score on the threshold is positive: 2 of 3 found, 1 of 5 called wrongly.
    assert values["sensitivity"] == pytest.approx(2 / 3)
    assert values["specificity"] == pytest.approx(4 / 5)
    assert values["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert values["accuracy"] == pytest.approx(6 / 8)
    assert values["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    errors = [0.01, 0.16, 0.64, 0.36, 0.01, 0.01, 0.01, 0.59**2]
    assert values["brier"] == pytest.approx(sum(errors) / 8)


def test_confusion_has_labels_in_rows():
    labels, called = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 1, 0])
    assert count_confusion(labels, called, 2).tolist() == [[1, 2], [1, 1]]


def test_more_classes_are_averaged_each_against_the_rest():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)
    probabilities = rng.dirichlet(np.ones(3), 200) + np.eye(3)[labels]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    called = probabilities.argmax(axis=1)
    found = compute_metrics(labels, probabilities, threshold=None)
    expected = {
        "roc_auc": sk.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "average_precision": sk.average_precision_score(
            np.eye(3)[labels], probabilities
        ),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "accuracy": sk.accuracy_score(labels, called),
        "f1": sk.f1_score(labels, called, average="macro"),
        "sensitivity": sk.recall_score(labels, called, average="macro"),
        "specificity": np.mean(
            [sk.recall_score(labels != i, called != i) for i in range(3)]
        ),
        "brier": ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
    assert compute_roc_auc(labels, probabilities) == pytest.approx(expected["roc_auc"])


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        ([0, 0], {"roc_auc", "average_precision", "balanced_accuracy", "sensitivity"}),
        ([1, 1], {"roc_auc", "balanced_accuracy", "specificity"}),
    ],
)
def test_one_class_leaves_metrics_undefined_with_a_reason(labels, undefined):
    found = compute_metrics(
        np.array(labels),
        two_columns([0.2, 0.7]),
        threshold=0.5,
        class_names=("normal", "tumour"),
    )
    assert {name for name in METRIC_NAMES if found[name].value is None} == undefined
    absent = "tumour" if labels[0] == 0 else "normal"
    for name in undefined:
        assert found[name].reason == f"no row has the label {absent}"


def test_f1_needs_a_positive_row_or_call():
    found = compute_metrics(np.array([0, 0]), two_columns([0.2, 0.3]), threshold=0.5)
    assert found["f1"].value is None
    assert "class 1" in found["f1"].reason


def test_a_class_of_several_that_is_absent_is_named():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    names = ("normal", "clear cell", "papillary")
    found = compute_metrics(
        np.array([0, 1]), probabilities, threshold=None, class_names=names
    )
    for name in ("roc_auc", "average_precision", "sensitivity", "f1"):
        assert found[name].value is None
        assert "papillary" in found[name].reason
    assert found["specificity"].value == 1
    alone = compute_metrics(
        np.array([0, 0]), probabilities, threshold=None, class_names=names
    )
    assert alone["specificity"].reason == "every row has the label normal"


def test_calls_take_the_threshold_or_the_highest_probability():
    assert call_classes(two_columns([0.3, 0.29]), 0.3).tolist() == [1, 0]
    assert call_classes(np.array([[0.3, 0.3, 0.4]]), None).tolist() == [2]
    with pytest.raises(ValueError, match="need a threshold"):
        call_classes(two_columns([0.3]), None)


@pytest.mark.parametrize(
    ("labels", "probabilities", "threshold", "message"),
    [
        ([0, 1], np.ones((2, 1)), 0.5, "two or more classes"),
        ([0, 1], np.ones(2), 0.5, "two or more classes"),
        ([0], two_columns([0.1, 0.2]), 0.5, "one for each row"),
        ([], np.ones((0, 2)), 0.5, "at least one"),
        ([0, 2], two_columns([0.1, 0.2]), 0.5, "0 to 1, got 0 to 2"),
        ([-1, 1], two_columns([0.1, 0.2]), 0.5, "leave rows without a label out"),
        ([0, 1], two_columns([0.1, np.nan]), 0.5, "finite"),
        ([0, 1], two_columns([0.1, 0.2]), None, "need a threshold"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(labels, probabilities, threshold, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(
            np.array(labels, dtype=np.int64), probabilities, threshold=threshold
        )
