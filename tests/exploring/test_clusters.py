import sys
import types

import numpy as np
import pandas as pd
import pytest

from eosin.core import ConfigError, MissingExtraError
from eosin.exploring.clusters import (
    cluster_features,
    describe_clusters,
    measure_agreement,
    project_points,
    reduce_features,
)


def make_blobs(sizes=(60, 30, 10), dimension=20, gap=8.0):
    rng = np.random.default_rng(0)
    parts = [rng.normal(gap * i, 1, (n, dimension)) for i, n in enumerate(sizes)]
    return np.concatenate(parts), np.repeat(np.arange(len(sizes)), sizes)


def test_the_number_of_clusters_is_that_of_the_groups_and_the_largest_is_first():
    features, truth = make_blobs()
    found = cluster_features(reduce_features(features), most=6)
    np.testing.assert_array_equal(found.numbers, truth)
    assert found.n_clusters == 3
    assert max(found.silhouettes, key=found.silhouettes.get) == 3
    assert set(found.silhouettes) == {2, 3, 4, 5, 6}


def test_components_keep_distances():
    features, _ = make_blobs()
    points = reduce_features(features)
    assert points.shape == (100, 20)
    np.testing.assert_allclose(
        np.linalg.norm(points[3] - points[70]),
        np.linalg.norm(features[3] - features[70]),
        rtol=1e-5,
    )
    assert reduce_features(np.random.default_rng(0).normal(size=(8, 99))).shape[1] == 8
    assert reduce_features(np.zeros((90, 99)) + np.eye(90, 99)).shape[1] == 50


def test_a_given_number_is_taken_and_distances_are_those_to_the_mean():
    points = np.array([[0.0, 0], [2, 0], [10, 0], [10, 4], [10, 2]])
    found = cluster_features(points, n_clusters=2)
    assert found.numbers.tolist() == [1, 1, 0, 0, 0]
    np.testing.assert_allclose(found.distances, [1, 1, 2, 2, 0])
    one = cluster_features(points, n_clusters=1)
    assert one.n_clusters == 1
    assert one.silhouettes == {}
    with pytest.raises(ConfigError, match=r"1 to 5 .* got 6"):
        cluster_features(points, n_clusters=6)


def test_equal_tiles_are_one_cluster():
    found = cluster_features(np.ones((6, 3)))
    assert found.n_clusters == 1
    np.testing.assert_array_equal(found.distances, 0)
    assert cluster_features(np.ones((0, 3))).n_clusters == 0
    # Two different places make no third cluster.
    two = np.repeat([[0.0], [5.0]], 3, axis=0)
    assert cluster_features(two).n_clusters == 2
    found = cluster_features(two, n_clusters=3)
    assert found.n_clusters == 1
    np.testing.assert_array_equal(found.distances, 2.5)


def test_neighbours_stay_together_on_the_map():
    features, truth = make_blobs()
    places = project_points(reduce_features(features), seed=1)
    assert places.shape == (100, 2)
    middles = np.stack([places[truth == i].mean(axis=0) for i in range(3)])
    near = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(near, truth)
    again = project_points(reduce_features(features), seed=1)
    np.testing.assert_allclose(places, again, atol=1e-4)


def test_few_or_equal_tiles_have_a_map_without_places():
    assert np.isnan(project_points(np.ones((3, 2)))).all()
    assert project_points(np.ones((9, 2))).tolist() == [[0, 0]] * 9
    assert project_points(np.arange(5.0)[:, None]).shape == (5, 2)


def test_umap_is_asked_as_it_should_be(monkeypatch):
    asked = {}

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, points):
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    points = np.random.default_rng(0).normal(size=(20, 4))
    places = project_points(points, "umap", seed=3)
    np.testing.assert_allclose(places, points[:, :2], rtol=1e-6)
    assert asked["random_state"] == 3
    assert (asked["n_neighbors"], asked["init"]) == (15, "spectral")
    project_points(points[:6], "umap")
    assert (asked["n_neighbors"], asked["init"]) == (5, "random")


def test_without_umap_learn_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"install .eosin\[umap\].*--map tsne"):
        project_points(np.ones((2, 2)), "umap")


def test_clusters_are_described_by_counting():
    tiles = pd.DataFrame(
        {
            "class_name": ["a", "a", "b", None, "b", None],
            "called": ["a", "b", "b", "a", None, None],
            "slide_id": ["s", "s", "t", "t", "t", "u"],
            "patient_id": ["p", "p", "p", "p", "p", "q"],
        }
    )
    table = describe_clusters(np.array([0, 0, 0, 0, 1, 2]), tiles)
    # 3 labels, of which 2 are a; 3 tiles with label and call, 1 of them unlike.
    expected = {
        "cluster": [1, 2, 3],
        "tiles": [4, 1, 1],
        "slides": [2, 1, 1],
        "patients": [1, 1, 1],
        "main_class": ["a", "b", None],
        "purity": [2 / 3, 1, np.nan],
        "labelled": [3, 1, 0],
        "called": [3, 0, 0],
        "errors": [1, 0, 0],
        "error_rate": [1 / 3, np.nan, np.nan],
        "largest_slide": [0.5, 1, 1],
    }
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected), check_dtype=False)


def test_agreement_is_one_for_the_same_grouping_and_about_zero_by_chance():
    numbers = np.repeat([0, 1, 2], 40)
    groups = pd.Series(np.repeat(["x", "y", "z"], 40))
    assert measure_agreement(numbers, groups) == pytest.approx(1)
    mixed = groups.sample(frac=1, random_state=0).reset_index(drop=True)
    assert abs(measure_agreement(numbers, mixed)) < 0.05
    # Only the tiles that have a group count.
    known = groups.where(numbers != 2, None)
    assert measure_agreement(numbers, known) == pytest.approx(1)
    # One group, or groups of one tile each, say nothing.
    assert measure_agreement(np.arange(4), pd.Series(["x"] * 4)) is None
    assert measure_agreement(np.zeros(4), pd.Series(list("abcd"))) is None
