import numpy as np
import pytest

from eosin.tiles import APPEARANCE, hash_tiles, measure_appearance, measure_sharpness


def measure(tile):
    return dict(zip(APPEARANCE, measure_appearance(tile[None])[0], strict=True))


def fill(colour, side=8):
    return np.full((side, side, 3), colour, np.uint8)


def test_a_tile_of_one_colour_has_its_numbers():
    found = measure(fill((200, 100, 150)))
    # ITU-R BT.601, as OpenCV's grey.
    assert found["intensity"] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 150)
    assert found["saturation"] == pytest.approx((200 - 100) / 200, abs=0.004)
    assert found["contrast"] == found["sharpness"] == found["detail"] == 0
    for name, value in zip(("red", "green", "blue"), (200, 100, 150), strict=True):
        assert found[f"density_{name}"] == pytest.approx(np.log(255 / value), rel=1e-5)
    assert found["white_share"] == found["black_share"] == found["clipped_share"] == 0


def test_contrast_and_detail_follow_from_the_grey_levels():
    tile = fill(50)
    tile[::2] = 150
    found = measure(tile)
    assert (found["intensity"], found["contrast"]) == (100, 50)
    sharpness = measure_sharpness(tile[None])[0]
    assert found["sharpness"] == sharpness
    assert found["detail"] == pytest.approx(sharpness / (50**2 + 4), rel=1e-5)


@pytest.mark.parametrize(
    ("colour", "shares"),
    [
        ((250, 240, 245), (0.25, 0, 0)),
        ((250, 210, 245), (0, 0, 0)),
        ((5, 20, 10), (0, 0.25, 0)),
        ((255, 20, 120), (0, 0, 0.25)),
        ((120, 0, 120), (0, 0, 0.25)),
        # White and black lie at the end of the scale by nature.
        ((255, 255, 255), (0.25, 0, 0)),
        ((0, 0, 0), (0, 0.25, 0)),
    ],
)
def test_odd_pixels_are_counted(colour, shares):
    tile = fill((180, 120, 160))
    tile[:4, :4] = colour
    found = measure(tile)
    names = ("white_share", "black_share", "clipped_share")
    assert tuple(found[name] for name in names) == shares


def test_white_does_not_thin_the_stain():
    tile = fill((180, 90, 160))
    whole = measure(tile)
    tile[:6] = 250
    part = measure(tile)
    assert part["white_share"] == 0.75
    for name in ("haematoxylin", "eosin", "density_green"):
        assert part[name] == pytest.approx(whole[name], rel=1e-5)
    # A white tile has next to none, not nothing at all.
    assert measure(fill(255))["density_green"] == 0


def test_no_tile_has_no_measures():
    tiles = np.empty((0, 8, 8, 3), np.uint8)
    assert measure_appearance(tiles).shape == (0, len(APPEARANCE))
    assert len(hash_tiles(tiles)) == 0


def test_only_identical_tiles_have_equal_hashes():
    tiles = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    tiles[2] = tiles[0]
    tiles[1] = tiles[0]
    tiles[1, 7, 7, 2] ^= 1
    first, second, third = hash_tiles(tiles)
    assert first == third != second
    # The same bytes in another shape are another tile.
    wide = tiles[:1].reshape(1, 4, 16, 3)
    assert hash_tiles(wide)[0] != first
