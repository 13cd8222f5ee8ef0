import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax

from eosin.core import ConfigError
from eosin.evaluation import Classes

TWO = Classes(("normal", "tumour"))
THREE = Classes(("normal", "clear cell", "papillary"))


def two_columns(scores):
    scores = np.asarray(scores, dtype=float)
    return np.stack([1 - scores, scores], axis=1)


@pytest.mark.parametrize("target", [TWO, THREE])
def test_logits_become_values_that_are_called_and_scored(target):
    n_logits = 1 if target is TWO else 3
    logits = np.random.default_rng(0).normal(size=(20, n_logits))
    values = target.activate(logits, 1.7)
    assert values.shape == (20, len(target.columns))
    expected = (
        two_columns(expit(logits[:, 0] / 1.7))
        if target is TWO
        else softmax(logits / 1.7, axis=1)
    )
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert set(target.call(values, 0.5)) <= set(range(len(target.columns)))
    assert {metric.name for metric in target.metrics} >= {"roc_auc", "ece"}


def test_logits_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"of 2 classes, got .*\(5, 3\)"):
        TWO.activate(np.zeros((5, 3)))


def test_columns_are_named_after_classes():
    assert TWO.columns == ("probability_normal", "probability_tumour")
    table = pd.DataFrame([[0.25, 0.75]], columns=list(TWO.columns))
    assert TWO.take(table).tolist() == [[0.25, 0.75]]


def test_calls_take_the_threshold_or_the_highest_probability():
    assert TWO.call(two_columns([0.3, 0.29]), 0.3).tolist() == [1, 0]
    own = np.array([0.2, 0.4])
    assert TWO.call(two_columns([0.3, 0.3]), own).tolist() == [1, 0]
    assert THREE.call(np.array([[0.3, 0.3, 0.4]]), None).tolist() == [2]
    with pytest.raises(ValueError, match="need a threshold"):
        TWO.call(two_columns([0.3]), None)


def test_the_positive_class_of_two_is_shown_and_else_the_call():
    assert TWO.find_shown(two_columns([0.1, 0.9])).tolist() == [1, 1]
    assert THREE.find_shown(np.array([[0.7, 0.2, 0.1]])).tolist() == [0]
    assert (TWO.ranked, THREE.ranked) == ((1,), (0, 1, 2))


def test_margins_are_above_zero_where_the_call_is_wrong():
    labels = np.array([1, 0, 1])
    margins = TWO.find_margins(labels, two_columns([0.4, 0.9, 0.7]), 0.6)
    assert margins == pytest.approx([0.2, 0.3, -0.1])
    values = np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]])
    margins = THREE.find_margins(np.array([1, 1]), values, None)
    assert margins == pytest.approx([0.2, -0.5])


def test_a_call_is_said_in_words():
    words = TWO.describe_call(0.25, noun="bag", quantity="score")
    assert words == "A bag is called tumour from a score of 0.250."
    assert "most probably" in THREE.describe_call(None)


@pytest.mark.parametrize("names", [(), ("tumour",), ("tumour", "tumour")])
def test_two_different_classes_are_needed(names):
    with pytest.raises(ConfigError, match="two or more different class names"):
        Classes(names)
