import threading

import numpy as np
import pytest

from eosin.core import ConfigError
from eosin.training import CachedViews, ChosenTiles, PixelTiles
from eosin.training.sources import iter_ahead


def _number(views=4, tiles=10):
    """An array in which each entry tells its view and tile."""
    view, tile = np.mgrid[:views, :tiles]
    return (100 * view + tile)[..., None].astype(np.float16)


def test_training_gets_one_view_of_each_tile():
    source = CachedViews(_number())
    rows = np.array([3, 3, 9, 0, 5, 7] * 10)
    batch = source.read_training(rows, np.random.default_rng(0))
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[:, 0] % 100, rows)
    assert set(batch[:, 0] // 100) == {0, 1, 2, 3}


def test_some_tiles_of_an_array_are_as_an_array_of_them():
    rows = np.array([7, 2, 5])
    some, whole = ChosenTiles(_number(), rows), _number()[:, rows]
    assert some.shape == whole.shape
    sources = [CachedViews(array) for array in (some, whole)]
    drawn = [
        source.read_training(np.array([2, 0, 1, 1]), np.random.default_rng(0))
        for source in sources
    ]
    np.testing.assert_array_equal(*drawn)
    seen = [source.read_validation(np.array([0, 2])) for source in sources]
    np.testing.assert_array_equal(*seen)
    np.testing.assert_array_equal(seen[0], [[7], [5]])


def test_features_without_views_are_refused():
    with pytest.raises(ConfigError, match=r"must be \(views, tiles, \.\.\.\)"):
        CachedViews(np.zeros((3, 4)))


def test_pixels_are_augmented_for_training_only():
    tiles = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    source = PixelTiles(
        lambda rows: tiles[rows], 4, augment=lambda batch, rng: batch + 10
    )
    rows = np.array([1, 2])
    rng = np.random.default_rng(0)
    assert source.read_training(rows, rng).ravel().tolist() == [11, 12]
    assert source.read_validation(rows).ravel().tolist() == [1, 2]
    plain = PixelTiles(lambda rows: tiles[rows], 4)
    assert plain.read_training(rows, rng).ravel().tolist() == [1, 2]


def test_reading_ahead_keeps_the_order_and_one_other_thread():
    threads = set()

    def make(item):
        threads.add(threading.get_ident())
        return item * 2

    assert list(iter_ahead(make, range(5))) == [0, 2, 4, 6, 8]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert list(iter_ahead(make, [])) == []


def test_an_error_while_reading_reaches_the_reader():
    def make(item):
        if item == 2:
            raise OSError("the disk is gone")
        return item

    results = iter_ahead(make, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
