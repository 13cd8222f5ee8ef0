import numpy as np
import pandas as pd
import pytest

from eosin.core import Box
from eosin.prediction.maps import (
    Attention,
    Call,
    Place,
    TileValues,
    lay_layers,
    layer_attention,
    layer_classes,
    rank_attention,
)

# Two by two tiles of 100 px at 1 micrometre: 0.01 mm2 each.
TILES = pd.DataFrame(
    {"x_px0": [0, 100, 0, 100], "y_px0": [0, 0, 100, 100], "size_px0": 100}
)
PLACE = Place((200, 200), 1.0, Box(0, 0, 200, 200))
TWO, THREE = ("normal", "tumor"), ("normal", "adenoma", "carcinoma")
# Attention .5, .25, .125, .125 of four tiles, times 4.
TIMES = np.array([0.5, 2.0, 1.0, 0.5])


def lay(values, names, **options):
    """Lay what a model of these classes would say of the four tiles."""
    call = Call(names[1], dict.fromkeys(names, 0.5))
    options = {"threshold": None} | options
    layers = layer_classes(np.array(values, float), call, **options)
    return lay_layers(TileValues(TILES, layers), PLACE)


def find_areas(laid):
    return {own.layer.class_name: round(own.area_mm2, 4) for own in laid}


def test_of_two_classes_the_positive_one_is_found_at_the_threshold():
    values = [[0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [np.nan, np.nan]]
    (high,) = lay(values, TWO, threshold=0.7)
    assert (high.area_mm2, len(high.regions)) == (pytest.approx(0.01), 1)
    assert (high.layer.name, high.layer.mark) == ("", 0.7)
    # Without a threshold it is a half.
    (half,) = lay(values, TWO, has_objects=True)
    assert (half.area_mm2, len(half.regions)) == (pytest.approx(0.02), 1)
    assert half.layer.objects == [0, 1]
    for least, n in ((0.021, 0), (0.019, 1)):
        assert len(lay(values, TWO, min_area_mm2=least)[0].regions) == n
    assert half.layer.subtitle == "tumor, score 0.500"


@pytest.mark.parametrize(
    ("threshold", "areas", "objects"),
    [
        (None, {"adenoma": 0.01, "carcinoma": 0.02}, [[1], [2, 3]]),
        # What is less probable than the threshold belongs to nobody.
        (0.65, {"adenoma": 0, "carcinoma": 0.01}, [[], [3]]),
    ],
)
def test_of_three_classes_each_place_has_the_likeliest(threshold, areas, objects):
    values = [[0.4, 0.35, 0.25], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6], [0.2, 0.1, 0.7]]
    laid = lay(values, THREE, threshold=threshold, has_objects=True)
    assert find_areas(laid) == areas
    assert [own.layer.objects for own in laid] == objects
    assert [own.layer.name for own in laid] == ["adenoma", "carcinoma"]
    # The whole of a class's probability is shown, not only where it was called.
    cells = laid[0].heatmap.values  # noqa: PD011 - no pandas
    np.testing.assert_allclose(cells, [[0.35, 0.4], [0.3, 0.1]], atol=1e-6)
    assert "called adenoma; carcinoma scores" in laid[1].layer.subtitle


@pytest.mark.parametrize(
    ("names", "files", "reach"),
    [
        (TWO, ["instances"], "score 0.50 or more"),
        (THREE, ["instances.adenoma", "instances.carcinoma"], "the likeliest"),
    ],
)
def test_scores_of_tiles_by_themselves_have_files_of_their_own(names, files, reach):
    laid = lay(np.full((4, len(names)), 0.4), names, source="mean of 3 folds")
    assert [own.layer.name for own in laid] == files
    assert {own.layer.file for own in laid} == {"instances"}
    assert reach in laid[0].layer.overlay.regions
    assert "mean of 3 folds" in laid[0].layer.overlay.quantity


def test_ranks_are_shares_and_equal_ones_share_the_middle():
    # The two lowest have ranks 1 and 2 of 4: 1.5 / 4.
    assert rank_attention(TIMES).tolist() == [0.375, 1.0, 0.75, 0.375]
    # Rounding of a softmax is no difference.
    assert len(set(rank_attention(1 + 1e-7 * np.arange(5)))) == 1
    assert rank_attention(np.array([1.0])).tolist() == [1.0]


def test_attention_is_measured_by_the_tiles_that_hold_half_of_it():
    attention = Attention.rank_tiles(TIMES)
    assert attention.measure() == {"highest_attention": 2.0, "tiles_with_half": 1}
    assert attention.list_most(3) == [1, 2, 0]
    part = attention.take(slice(2, 4))
    # Ranks stay those in the bag.
    assert part.rank.tolist() == [0.75, 0.375]
    # Of four alike two hold half; beside another slide one may have none.
    assert Attention.rank_tiles(np.ones(4)).measure()["tiles_with_half"] == 2
    assert set(Attention.rank_tiles(np.zeros(3)).measure().values()) == {0}


def test_of_attention_the_rank_is_shown_and_the_times_are_outlined():
    scores = np.array([[1, 0], [0.2, 0.8], [1, 0], [1, 0]])
    layer = layer_attention(
        Attention.rank_tiles(TIMES, scores),
        ("a", "b"),
        outline_from=1.5,
        n_objects=2,
        source="mean of 3 folds",
        subtitle="",
    )
    (laid,) = lay_layers(TileValues(TILES, [layer]), PLACE)
    cells = laid.heatmap.values  # noqa: PD011 - no pandas
    assert cells.tolist() == [[0.375, 1.0], [0.75, 0.375]]
    (region,) = laid.regions
    assert region.geometry.bounds == (100, 0, 200, 100)
    assert region.max_probability == 2
    assert layer.objects == [1, 2]
    assert {k: v[1] for k, v in layer.measurements.items()} == {
        "Attention over 1/n": 2,
        "Attention rank": 1,
        "Tile probability of a": 0.2,
        "Tile probability of b": 0.8,
    }
    assert layer.raster == "attention (rank among the tiles, mean of 3 folds)"
