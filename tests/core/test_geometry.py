import pytest

from eosin.core import Box


def test_right_and_bottom_are_the_first_pixels_outside():
    box = Box(-5, 10, 20, 3)
    assert (box.right_px0, box.bottom_px0) == (15, 13)


def test_a_box_has_no_negative_size():
    with pytest.raises(ValueError, match="width and a height of 0 or more"):
        Box(0, 0, -1, 2)
