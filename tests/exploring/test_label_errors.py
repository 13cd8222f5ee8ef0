"""Confident learning, against a case worked out by hand and against cleanlab's list."""

import numpy as np
import pytest

from eosin.exploring.label_errors import find_confident_classes, find_label_errors

# Means of the labelled class: 0: (.9 + .8 + .2) / 3 = .6333; 1: (.9 + .7 + .1) / 3 =
# .5667. Tile 2 (label 0) has .8 of class 1, tile 5 (label 1) .9 of class 0.
PROBABILITIES = np.array(
    [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.9, 0.1]]
)
LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_the_case_of_the_hand():
    found = find_label_errors(LABELS, PROBABILITIES)
    np.testing.assert_allclose(found.thresholds, [1.9 / 3, 1.7 / 3])
    np.testing.assert_array_equal(found.counts, [[2, 1], [1, 2]])
    # Margins .9 - .1 and .8 - .2.
    np.testing.assert_array_equal(found.rows, [5, 2])
    np.testing.assert_array_equal(found.suggested, [0, 1])
    np.testing.assert_allclose(found.margins, [0.8, 0.6])
    np.testing.assert_allclose(found.joint, np.array([[2, 1], [1, 2]]) / 6)
    assert found.error_share == pytest.approx(1 / 3)


def test_a_tile_that_is_confidently_of_no_class_is_not_counted():
    # Thresholds .9 and .8; the last tile reaches neither and is no suspect.
    probabilities = np.array([[0.95, 0.05], [0.2, 0.8], [0.85, 0.15]])
    found = find_label_errors(np.array([0, 1, 0]), probabilities)
    np.testing.assert_array_equal(found.counts, [[1, 0], [0, 1]])
    assert len(found.rows) == 0
    # The row of label 0 is brought to the two tiles that bear it.
    np.testing.assert_allclose(found.joint, [[2 / 3, 0], [0, 1 / 3]])
    assert found.error_share == 0


def test_of_several_classes_the_most_probable_that_is_reached_counts():
    thresholds = np.array([0.2, 0.3, 0.9])
    probabilities = np.array([[0.25, 0.35, 0.4], [0.1, 0.25, 0.65], [0.5, 0.3, 0.2]])
    # Of the first 2 is the highest, but its threshold is not reached.
    found = find_confident_classes(probabilities, thresholds)
    np.testing.assert_array_equal(found, [1, -1, 0])


def test_a_class_without_tiles_is_never_suggested():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    found = find_label_errors(np.array([0, 0, 1]), probabilities)
    assert np.isnan(found.thresholds[2])
    assert 2 not in found.suggested
    np.testing.assert_allclose(found.joint.sum(), 1)


def test_labels_of_which_nothing_is_confident_are_taken_at_their_word():
    # The mean of label 0 is .4, but both tiles are called 1 with more than .55.
    probabilities = np.array([[0.41, 0.59], [0.39, 0.61], [0.45, 0.55]])
    found = find_label_errors(np.array([0, 0, 1]), probabilities)
    np.testing.assert_array_equal(found.counts, [[0, 2], [0, 1]])
    np.testing.assert_allclose(found.error_share, 2 / 3)


def test_wrong_labels_are_found_and_right_ones_left():
    # 12 % of 600 labels are changed; the model is as sure as it should be.
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 600)
    is_changed = rng.random(600) < 0.12
    labels = np.where(is_changed, (true + 1) % 3, true)
    logits = rng.normal(size=(600, 3)) + 4 * np.eye(3)[true]
    parts = np.exp(logits)
    found = find_label_errors(labels, parts / parts.sum(axis=1, keepdims=True))
    assert is_changed[found.rows].mean() > 0.9
    assert is_changed[found.rows].sum() > 0.9 * is_changed.sum()
    assert found.error_share == pytest.approx(0.12, abs=0.04)
    shuffled = np.random.default_rng(1).permutation(labels)
    nothing = find_label_errors(shuffled, parts / parts.sum(axis=1, keepdims=True))
    assert nothing.error_share > 0.5


# Of the labels and probabilities below, by cleanlab 2.9.0: its list of label issues by
# the filter "confident_learning", ranked by "normalized_margin", and its confident
# joint without calibration.
CLEANLAB_ROWS = [9, 112, 51, 119, 70, 96, 52, 95, 71, 35, 4, 54, 32, 83]
CLEANLAB_COUNTS = [[32, 3, 4], [2, 21, 1], [3, 1, 22]]


def make_noisy():
    rng = np.random.default_rng(5)
    true = rng.integers(0, 3, 120)
    labels = np.where(rng.random(120) < 0.2, rng.integers(0, 3, 120), true)
    logits = rng.normal(size=(120, 3)) + 2 * np.eye(3)[true]
    parts = np.exp(logits)
    return labels, parts / parts.sum(axis=1, keepdims=True)


def test_the_list_is_cleanlabs():
    found = find_label_errors(*make_noisy())
    assert found.rows.tolist() == CLEANLAB_ROWS
    assert found.counts.tolist() == CLEANLAB_COUNTS
