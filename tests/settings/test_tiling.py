import pytest

from eosin.core import ConfigError
from eosin.settings import TileSpec, TilingSettings


@pytest.mark.parametrize("kind", [TileSpec, TilingSettings])
def test_a_tile_does_not_lie_on_its_neighbour(kind):
    assert kind(mpp=1, tile_px=64, overlap_px=63).overlap_px == 63
    with pytest.raises(ConfigError, match=r"below tile_px \(64\), got 64"):
        kind(mpp=1, tile_px=64, overlap_px=64)
