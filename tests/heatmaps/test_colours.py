import numpy as np

from eosin.heatmaps import CLASS_COLOURS, colourise
from eosin.heatmaps.colours import find_strength


def luminance(colours):
    linear = (colours / 255.0) ** 2.2
    return linear @ [0.2126, 0.7152, 0.0722]


def test_colours_are_those_of_viridis():
    # Ends and middle as matplotlib publishes them; what lies beyond takes the ends.
    ends = [68, 1, 84], [253, 231, 37]
    np.testing.assert_allclose(
        colourise(np.array([0, 0.5, 1.0, -3.0, 7.0])),
        [ends[0], [33, 145, 140], ends[1], *ends],
        atol=2,
    )


def test_a_higher_value_is_lighter():
    light = luminance(colourise(np.linspace(0, 1, 40)).astype(float))
    assert (np.diff(light) > 0).all()


def test_nan_is_white_and_does_not_show():
    values = np.array([[np.nan, 0.3]], np.float32)
    np.testing.assert_array_equal(colourise(values)[0, 0], [255, 255, 255])
    assert find_strength(values)[0, 0] == 0


def test_low_values_are_nearly_clear_and_high_ones_let_tissue_through():
    low, middle, high = find_strength(np.array([0, 0.5, 1]))
    assert 0 < low < middle < high < 0.7


def test_class_colours_differ():
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS) >= 6
