import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.core import ConfigError
from eosin.tiles.stain import StainJitter, measure_density, unmix_density


def make_tiles(n: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(30, 250, (n, 16, 16, 3), np.uint8)


def test_strength_0_is_the_identity_and_a_tiny_one_nearly() -> None:
    tiles = make_tiles()
    before = tiles.copy()
    out = StainJitter(0).apply(tiles, np.random.default_rng(0))
    assert np.array_equal(out, tiles)
    assert out is not tiles
    # Unmixing and mixing again must cancel.
    out = StainJitter(1e-6).apply(tiles, np.random.default_rng(0))
    assert np.abs(out.astype(int) - tiles).max() <= 1
    assert np.array_equal(tiles, before)


def test_one_seed_gives_one_result_and_each_tile_its_own() -> None:
    tiles = np.repeat(make_tiles(1), 2, axis=0)
    first = StainJitter(0.3).apply(tiles, np.random.default_rng(7))
    second = StainJitter(0.3).apply(tiles, np.random.default_rng(7))
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


@given(strength=st.floats(0.01, 0.9), seed=st.integers(0, 1000))
def test_white_changes_by_brightness_only(strength: float, seed: int) -> None:
    # White has no density, so only exp(-u / 4) with |u| <= strength acts on it.
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    out = StainJitter(strength).apply(white, np.random.default_rng(seed))
    assert np.ptp(out) == 0
    assert out.min() >= np.floor(255 * np.exp(-strength / 4))


def test_more_strength_changes_more() -> None:
    tiles = make_tiles(32)
    weak, strong = (
        np.abs(
            StainJitter(s).apply(tiles, np.random.default_rng(0)).astype(int) - tiles
        ).mean()
        for s in (0.05, 0.4)
    )
    assert 0 < weak < strong


@pytest.mark.parametrize("strength", [-0.1, 1.0, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="stain strength"):
        StainJitter(strength)


def test_density_is_the_logarithm_of_what_is_left_of_the_light() -> None:
    tile = np.full((4, 4, 3), 255, np.uint8)
    tile[:, :2] = (128, 64, 32)
    is_left = np.zeros((4, 4), bool)
    is_left[:, :2] = True
    expected = np.log(255 / np.array([128, 64, 32]))
    np.testing.assert_allclose(measure_density(tile, is_left), expected, rtol=1e-5)
    # No tissue means the whole tile, half of which is white.
    nowhere = np.zeros((4, 4), bool)
    np.testing.assert_allclose(measure_density(tile, nowhere), expected / 2, rtol=1e-5)


def test_a_mixture_of_stains_is_taken_apart() -> None:
    haematoxylin = np.array([0.65, 0.70, 0.29])
    eosin = np.array([0.07, 0.99, 0.11])
    haematoxylin /= np.linalg.norm(haematoxylin)
    eosin /= np.linalg.norm(eosin)
    density = np.stack([0.8 * haematoxylin + 0.3 * eosin, 0 * eosin]).astype(np.float32)
    amounts = unmix_density(density)
    np.testing.assert_allclose(amounts, [[0.8, 0.3], [0, 0]], atol=1e-5)
