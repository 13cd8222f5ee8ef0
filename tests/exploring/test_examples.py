import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.exploring.examples import choose_examples, measure_confidence


def test_confidence_of_two_classes_is_the_way_from_the_threshold():
    positive = np.array([0.2, 0.6, 1.0, 0.1, 0.0])
    probabilities = np.stack([1 - positive, positive], axis=1)
    # Threshold .2: (p - .2) / .8 above, (.2 - p) / .2 below.
    expected = [0, 0.5, 1, 0.5, 1]
    np.testing.assert_allclose(measure_confidence(probabilities, 0.2), expected)
    each = np.array([0.2, 0.5, 0.5, 0.4, 0.0])
    # A threshold of 0 calls every tile; at 0 it is not sure of it.
    expected = [0, 0.2, 1, 0.75, 0]
    np.testing.assert_allclose(measure_confidence(probabilities, each), expected)
    np.testing.assert_allclose(measure_confidence(probabilities[2:3], 1.0), [0])


def test_confidence_of_more_classes_is_the_lead():
    probabilities = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(measure_confidence(probabilities, None), [0.2, 0.7])
    with pytest.raises(ValueError, match="need a threshold"):
        measure_confidence(np.array([[0.5, 0.5]]), None)


LABELS = np.array([0, 0, 0, 0, 1, -1, 1])
CALLED = np.array([0, 0, 1, 1, 1, 1, 1])
CONFIDENCE = np.array([0.3, 0.9, 0.2, 0.8, 0.5, 1.0, 0.6])
SLIDES = np.array(["a", "a", "a", "b", "b", "b", "b"], object)


def choose(**options):
    found = choose_examples(LABELS, CALLED, CONFIDENCE, SLIDES, **options)
    return {key: rows.tolist() for key, rows in found.items()}


def test_examples_are_ranked_by_kind():
    assert choose(n=2) == {
        (0, "right"): [1],
        (0, "wrong"): [3, 2],
        (0, "uncertain"): [0],
        (1, "right"): [6],
        (1, "wrong"): [],
        (1, "uncertain"): [4],
    }


def test_of_many_tiles_the_surest_and_the_least_sure_are_taken():
    labels = np.zeros(20, int)
    called = np.array([0] * 15 + [1] * 5)
    confidence = np.linspace(0.05, 1, 20)
    groups = np.arange(20)
    found = choose_examples(labels, called, confidence, groups, n=2)
    assert found[0, "right"].tolist() == [14, 13]
    assert found[0, "wrong"].tolist() == [19, 18]
    assert found[0, "uncertain"].tolist() == [0, 1]


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(0, 1), st.integers(0, 2)), max_size=12
    ),
    st.integers(1, 12),
    st.integers(0, 2),
)
def test_no_tile_is_shown_twice(tiles, n, per_group):
    called, confidence, groups = (np.array([t[i] for t in tiles]) for i in range(3))
    labels = np.zeros(len(tiles), int)
    found = choose_examples(
        labels, called, confidence, groups, n=n, per_group=per_group
    )
    shown = [row for rows in found.values() for row in rows.tolist()]
    assert len(shown) == len(set(shown))
    if tiles:
        assert shown


def test_a_slide_gives_no_more_than_it_may():
    found = choose(n=2, per_group=1)
    assert found[0, "right"] == [1]
    assert found[0, "wrong"] == [3, 2]
    assert found[0, "uncertain"] == [0]
    assert found[1, "right"] == [6]
