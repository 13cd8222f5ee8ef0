"""Where batches come from: cached views, or pixels read as they are needed."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from eosin.core import ConfigError
from eosin.training.training_data import Rows

Item = TypeVar("Item")
Made = TypeVar("Made")
Tiles = NDArray[np.uint8]


class Views(Protocol):
    """An array `(views, tiles, ...)`, or what can be read like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Views, tiles, and what is kept of each."""
        ...

    def __getitem__(self, index: tuple[Any, Any], /) -> NDArray[Any]:
        """Read some tiles of one view, or each in a view of its own."""
        ...


class ChosenTiles:
    """Some tiles of an array of views `(views, tiles, ...)`, read where they lie."""

    def __init__(self, array: NDArray[Any], rows: Rows) -> None:
        self._array, self._rows = array, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Views, tiles, and what is kept of each."""
        return (len(self._array), len(self._rows), *self._array.shape[2:])

    def __getitem__(self, index: tuple[Any, Any], /) -> NDArray[Any]:
        """Read some tiles of one view, or each in a view of its own."""
        views, rows = index
        return np.asarray(self._array[views, self._rows[rows]])


class CachedViews:
    """Features or activations of every tile in several views, encoded before.

    Training gets one view of each tile, drawn anew in every epoch.

    Args:
        array: `(views, tiles, ...)`, float16 or float32; a memory map will do, and
            `ChosenTiles` of one. View 0 is the tile as it is.

    Raises:
        ConfigError: The array has no views.
    """

    def __init__(self, array: Views) -> None:
        if len(array.shape) < 3:
            raise ConfigError(
                "cached features must be (views, tiles, ...), got the shape "
                f"{array.shape}"
            )
        self._array = array
        self.n_tiles, self.tile_shape = int(array.shape[1]), array.shape[2:]

    def read_training(self, rows: Rows, rng: np.random.Generator) -> NDArray[Any]:
        """Read one random view of each tile, as float32."""
        views = rng.integers(self._array.shape[0], size=len(rows))
        return np.asarray(self._array[views, rows], np.float32)

    def read_validation(self, rows: Rows) -> NDArray[Any]:
        """Read every tile as it is, as float32."""
        return np.asarray(self._array[0, rows], np.float32)


class PixelTiles:
    """Tiles whose pixels are read anew in every epoch.

    Args:
        read: From rows to `(tiles, px, px, 3)` uint8. It is called from another
            thread, but never twice at a time.
        n_tiles: Rows that can be read.
        augment: Changes a batch of uint8 tiles for training; gets all its
            randomness from the generator. None trains on the tiles as they are.
    """

    def __init__(
        self,
        read: Callable[[Rows], Tiles],
        n_tiles: int,
        *,
        augment: Callable[[Tiles, np.random.Generator], Tiles] | None = None,
    ) -> None:
        self._read, self._augment = read, augment
        self.n_tiles = n_tiles

    def read_training(self, rows: Rows, rng: np.random.Generator) -> NDArray[Any]:
        """Read a batch and augment it."""
        tiles = self._read(rows)
        return tiles if self._augment is None else self._augment(tiles, rng)

    def read_validation(self, rows: Rows) -> NDArray[Any]:
        """Read a batch as it is."""
        return self._read(rows)


TileSource = CachedViews | PixelTiles


def iter_ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Make each item's result in a thread, in order, one ahead of whoever takes them.

    One thread makes them, so that what is made does not depend on how threads run.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: Future[Made] | None = None
        for item in items:
            following = pool.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
