import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from eosin.exploring.statistics import (
    OUTLIERS,
    SHOWN_MEASURES,
    correlate_measures,
    describe_by_class,
    explain_colour,
    find_outliers,
    map_colours,
    measure_isolation,
)
from eosin.settings import OutlierLimits

PLAIN = {
    "contrast": 40.0,
    "white_share": 0.1,
    "black_share": 0.0,
    "clipped_share": 0.0,
    "sharpness": 1000.0,
    "detail": 1.0,
}


def make_measures(*changes):
    return pd.DataFrame([PLAIN | change for change in changes])


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({}, set()),
        ({"white_share": 0.99, "sharpness": 0.0, "detail": 0.0}, {"blank"}),
        ({"white_share": 0.98}, set()),
        ({"contrast": 1.9, "sharpness": 0.0, "detail": 0.0}, {"blank"}),
        ({"black_share": 0.95, "contrast": 0.5, "sharpness": 0.0}, {"black"}),
        ({"clipped_share": 0.25}, {"saturated"}),
        ({"sharpness": 199.0, "detail": 0.19}, {"blurred"}),
        # Little tissue is not blur, and neither is weak stain.
        ({"sharpness": 199.0}, set()),
        ({"detail": 0.19}, set()),
        (dict.fromkeys(PLAIN, np.nan), set()),
        ({"white_share": 0.6}, set()),
    ],
)
def test_a_tile_is_odd_by_its_measures(change, kinds):
    found = find_outliers(make_measures(change, {}, {}, {}), OutlierLimits())
    assert {name for name in OUTLIERS if found[name][0]} == kinds
    assert not found.iloc[1:].any(axis=None)
    limits = OutlierLimits(blank_share=0.5)
    assert find_outliers(make_measures({"white_share": 0.6}), limits)["blank"].all()


def make_shown(n=40):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, len(SHOWN_MEASURES)))
    return pd.DataFrame(values, columns=list(SHOWN_MEASURES))


def test_measures_are_described_class_by_class():
    measures = make_shown(7)
    measures["intensity"] = [1.0, 2.0, 3.0, 10.0, 20.0, np.nan, 99.0]
    labels = np.array([0, 0, 0, 1, 1, 1, -1])
    table = describe_by_class(measures, labels, ("a", "b", "c"))
    assert len(table) == 3 * len(SHOWN_MEASURES)
    first = table[table["measure"] == "intensity"].set_index("class_name")
    assert first["n"].tolist() == [3, 2, 0]
    assert first["median"].tolist()[:2] == [2, 15]
    assert first.loc["a", "percentile_25"] == 1.5
    # Every tile of b is brighter than every one of a.
    assert first["roc_auc"].tolist()[:2] == [0, 1]
    assert np.isnan(first.loc["c", ["median", "roc_auc"]].astype(float)).all()


def test_correlations_are_those_of_ranks():
    measures = make_shown()
    measures["eosin"] = np.exp(3 * measures["intensity"])
    measures["sharpness"] = 1.0
    labels = np.arange(40) % 2
    labels[:3] = -1
    table = correlate_measures(measures, labels, ("no", "yes"))
    assert list(table.columns) == [*SHOWN_MEASURES, "yes"]
    assert table.loc["eosin", "intensity"] == pytest.approx(1)
    expected = spearmanr(measures["saturation"][3:], labels[3:]).statistic
    assert table.loc["saturation", "yes"] == pytest.approx(expected)
    assert np.isnan(table.loc["sharpness", "yes"])
    # Of three classes each is correlated by itself.
    table = correlate_measures(make_shown(), np.arange(40) % 3, ("a", "b", "c"))
    assert list(table.columns[-3:]) == ["a", "b", "c"]
    assert table.loc["a", "b"] == pytest.approx(-0.5, abs=0.05)


def test_the_first_direction_of_colour_is_darkness():
    along = np.linspace(0, 1, 21)
    density = np.stack([along, 2 * along, along], axis=1)
    density[3] += (0.01, -0.005, 0)
    density = np.vstack([density, [np.nan] * 3])
    found = map_colours(density)
    assert found.shares[0] > 0.999
    expected = np.array([1, 2, 1]) / np.sqrt(6)
    np.testing.assert_allclose(found.directions[0], expected, atol=0.01)
    assert np.corrcoef(found.points[:21, 0], along)[0, 1] > 0.999
    assert np.isnan(found.points[21]).all()


def test_two_tiles_have_no_map_of_colours():
    found = map_colours(np.ones((2, 3)))
    assert np.isnan(found.points).all()
    assert found.shares.tolist() == [0, 0]
    # And tiles of one colour lie in one place.
    assert np.abs(map_colours(np.ones((5, 3))).points).max() < 1e-12


def test_the_share_between_groups_is_that_of_sums_of_squares():
    # Means 0 and 1, each with a spread of 0.1: 1 between, 0.04 within.
    density = np.repeat([[-0.1], [0.1], [0.9], [1.1]], 3, axis=1)
    # Epsilon squared: (between - (k - 1) within / (n - k)) / total.
    expected = (1 - 0.04 / 2) / 1.04
    groups = ["a", "a", "b", "b"]
    assert explain_colour(density, groups) == pytest.approx(expected)
    # Tiles of no group and of no colour count for nothing.
    more = np.vstack([density, np.full((1, 3), 7), np.full((1, 3), np.nan)])
    assert explain_colour(more, [*groups, None, "b"]) == pytest.approx(expected)


def test_groups_by_chance_explain_nothing():
    rng = np.random.default_rng(0)
    shares = [
        explain_colour(rng.normal(size=(200, 3)), (np.arange(200) % 50).tolist())
        for _ in range(20)
    ]
    assert np.mean(shares) < 0.05


@pytest.mark.parametrize("groups", [["a"] * 4, list("abcd"), [None] * 4])
def test_where_groups_cannot_explain_there_is_no_share(groups):
    assert explain_colour(np.random.default_rng(0).normal(size=(4, 3)), groups) is None
    # Equal colours leave nothing to explain.
    assert explain_colour(np.ones((4, 3)), ["a", "a", "b", "b"]) is None


@pytest.mark.parametrize("n_references", [20_000, 50])
def test_a_tile_far_from_all_others_is_isolated(monkeypatch, n_references):
    monkeypatch.setattr("eosin.exploring.statistics._MOST_REFERENCES", n_references)
    features = np.random.default_rng(0).normal(size=(200, 8))
    features[17] += 30
    isolation = measure_isolation(features)
    assert isolation.argmax() == 17
    assert isolation[17] > 5
    assert np.median(isolation) == pytest.approx(1)


def test_few_or_equal_tiles_are_not_isolated():
    assert measure_isolation(np.ones((2, 4))).tolist() == [1, 1]
    assert measure_isolation(np.ones((5, 4))).tolist() == [1] * 5
