import numpy as np
import pytest

from eosin.tiles import glass
from eosin.tiles.glass import find_even, find_extremes, find_quantile


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_extremes_are_those_of_the_three_channels() -> None:
    image = noise(30, 20, 3)
    low, high = find_extremes(image)
    assert (low == image.min(axis=2)).all()
    assert (high == image.max(axis=2)).all()


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("share", [0, 0.5, 0.84, 0.9, 1])
def test_quantiles_are_numpys(n, share) -> None:
    values = noise(n)
    assert find_quantile(values, share) == pytest.approx(np.quantile(values, share))


def test_bands_change_nothing(monkeypatch) -> None:
    image = np.repeat(noise(40, 30, 1) // 24, 3, axis=2)
    whole = find_even(image)
    assert 0 < whole.mean() < 1
    monkeypatch.setattr(glass, "BAND_PX", 7)
    assert (find_even(image) == whole).all()
