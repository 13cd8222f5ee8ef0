import numpy as np
import pytest

from eosin.tiles import N_VIEWS, apply_view, undo_view


@pytest.fixture
def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize("view", range(N_VIEWS))
def test_undoing_gives_back_the_tiles(tiles: np.ndarray, view: int) -> None:
    assert np.array_equal(undo_view(apply_view(tiles, view), view), tiles)


def test_view_0_changes_nothing(tiles: np.ndarray) -> None:
    assert np.array_equal(apply_view(tiles, 0), tiles)


def test_all_views_differ(tiles: np.ndarray) -> None:
    assert len({apply_view(tiles, v).tobytes() for v in range(N_VIEWS)}) == 8


def test_view_1_is_a_quarter_turn_counter_clockwise() -> None:
    tile = np.array([[1, 2], [3, 4]], np.uint8)[None, :, :, None]
    assert apply_view(tile, 1)[0, :, :, 0].tolist() == [[2, 4], [1, 3]]


def test_view_4_mirrors_left_and_right() -> None:
    tile = np.array([[1, 2], [3, 4]], np.uint8)[None, :, :, None]
    assert apply_view(tile, 4)[0, :, :, 0].tolist() == [[2, 1], [4, 3]]


def test_memory_is_contiguous(tiles: np.ndarray) -> None:
    assert apply_view(tiles, 5).flags.c_contiguous
    assert undo_view(tiles, 5).flags.c_contiguous


@pytest.mark.parametrize("view", [-1, 8])
def test_an_unknown_view_is_refused(tiles: np.ndarray, view: int) -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        apply_view(tiles, view)
    with pytest.raises(ValueError, match="0 to 7"):
        undo_view(tiles, view)


@pytest.mark.parametrize("view", range(N_VIEWS))
@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (2, 96, 96, 3), (2, 3, 4, 1)])
def test_views_are_what_numpy_turns(view: int, shape: tuple[int, ...]) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    seen = tiles[:, :, ::-1] if view >= 4 else tiles
    turned = np.rot90(seen, view % 4, axes=(1, 2))
    assert np.array_equal(apply_view(tiles, view), turned)
    # Tiles that lie in memory otherwise are turned alike.
    assert np.array_equal(apply_view(tiles[::-1, :, ::-1], 0), tiles[::-1, :, ::-1])
    flipped = tiles[:, ::-1]
    assert np.array_equal(undo_view(apply_view(flipped, view), view), flipped)
