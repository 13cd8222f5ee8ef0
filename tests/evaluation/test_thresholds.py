import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.evaluation import Classes, choose_threshold

LABELS = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
SCORES = np.arange(10) / 10 + 0.05
TWO = Classes(("normal", "tumour"))


def choose(labels, scores, **settings):
    scores = np.asarray(scores, float)
    values = np.stack([1 - scores, scores], axis=1)
    return choose_threshold(labels, values, target=TWO, **settings)


def test_youden_takes_the_best_sum():
    choice = choose(LABELS, SCORES)
    # Above 0.55 all of 4 calls are right and 1 of 5 tumours is missed: 0.8 + 1.
    # Above 0.35 all 5 are found and 1 of 5 normals is called: 1 + 0.8, a tie.
    assert choice.threshold in (pytest.approx(0.4), pytest.approx(0.6))
    assert choice.sensitivity + choice.specificity == pytest.approx(1.8)
    assert (choice.rule, choice.n, choice.caution) == ("youden", 10, None)


def test_a_threshold_lies_in_the_middle_of_the_widest_best_gap():
    choice = choose(np.array([0, 0, 1, 1]), np.array([0.0, 0.2, 0.8, 0.9]))
    assert choice.threshold == pytest.approx(0.5)
    assert (choice.sensitivity, choice.specificity) == (1, 1)


def test_a_wanted_sensitivity_is_reached_with_the_best_specificity():
    choice = choose(LABELS, SCORES, rule="sensitivity@0.95")
    assert choice.threshold == pytest.approx(0.4)
    assert (choice.sensitivity, choice.specificity) == (1.0, 0.8)
    lower = choose(LABELS, SCORES, rule="sensitivity@0.8")
    assert lower.threshold == pytest.approx(0.6)


def test_a_wanted_specificity_is_reached_with_the_best_sensitivity():
    choice = choose(LABELS, SCORES, rule="specificity@1")
    assert choice.threshold == pytest.approx(0.6)
    assert (choice.sensitivity, choice.specificity) == (0.8, 1.0)


def test_a_specificity_out_of_reach_calls_nothing_positive():
    choice = choose(np.array([1, 0]), np.array([0.2, 0.9]), rule="specificity@1")
    assert choice.threshold > 0.9
    assert choice.sensitivity == 0


def test_neighbouring_floats_are_separated():
    low = 0.5
    high = np.nextafter(low, 1)
    choice = choose(np.array([0, 1]), np.array([low, high]))
    assert choice.threshold == high


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40
    ).filter(lambda rows: len({label for label, _ in rows}) == 2),
    st.sampled_from(["youden", "sensitivity@0.9", "specificity@0.7"]),
)
def test_the_reported_rates_are_those_of_the_threshold(rows, rule):
    labels = np.array([label for label, _ in rows], dtype=int)
    scores = np.array([score / 20 for _, score in rows])
    choice = choose(labels, scores, rule=rule)
    called = scores >= choice.threshold
    assert choice.sensitivity == pytest.approx(called[labels == 1].mean())
    assert choice.specificity == pytest.approx((~called[labels == 0]).mean())
    if rule == "youden":
        best = max(
            (scores >= t)[labels == 1].mean() + (scores < t)[labels == 0].mean()
            for t in [*np.unique(scores), 2.0]
        )
        assert choice.sensitivity + choice.specificity == pytest.approx(best)


@pytest.mark.parametrize(
    ("labels", "held", "rates"),
    [
        ([], "no rows", (None, None)),
        ([0, 0], "only label 0", (None, 0.5)),
        ([1, 1], "only label 1", (0.5, None)),
    ],
)
def test_one_class_sets_half_and_says_so(labels, held, rates):
    choice = choose(np.array(labels), np.array([0.2, 0.9])[: len(labels)])
    assert (choice.threshold, choice.rule) == (0.5, "fixed")
    assert held in choice.caution
    assert (choice.sensitivity, choice.specificity) == rates


@pytest.mark.parametrize(
    "rule", ["", "best", "sensitivity@", "sensitivity@0", "sensitivity@1.1", "f1@0.9"]
)
def test_unknown_rules_are_refused(rule):
    with pytest.raises(ValueError, match=f"got '{rule}'"):
        choose(LABELS, SCORES, rule=rule)


def test_more_classes_have_no_threshold():
    three = Classes(("normal", "clear cell", "papillary"))
    choice = choose_threshold(np.array([0, 2]), np.eye(3)[[0, 2]], target=three)
    assert (choice.threshold, choice.rule, choice.n) == (None, "highest", 2)
