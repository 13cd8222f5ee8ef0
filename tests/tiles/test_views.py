import numpy as np
import pytest

from eosin.tiles import N_VIEWS, apply_view


@pytest.mark.parametrize("view", range(N_VIEWS))
@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (2, 96, 96, 3), (2, 3, 4, 1)])
def test_views_are_what_numpy_turns(view: int, shape: tuple[int, ...]) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    seen = tiles[:, :, ::-1] if view >= 4 else tiles
    turned = apply_view(tiles, view)
    assert np.array_equal(turned, np.rot90(seen, view % 4, axes=(1, 2)))
    assert turned.flags.c_contiguous
    # Tiles that lie in memory otherwise are turned alike.
    assert np.array_equal(apply_view(tiles[::-1, :, ::-1], 0), tiles[::-1, :, ::-1])
