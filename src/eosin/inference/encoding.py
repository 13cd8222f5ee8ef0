"""Encoding every tile once, in all its views, into arrays on disk."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from eosin.core import (
    ModelError,
    Progress,
    RunError,
    read_json,
    require_free_space,
    write_json,
)
from eosin.inference.read_ahead import (
    ReadTiles,
    Rows,
    Tiles,
    iter_read_ahead,
    require_every_tile,
)
from eosin.tiles import apply_view

AugmentTiles = Callable[[Tiles, Rows, int], Tiles]

# Which of the eight dihedral views stand for a number of views.
VIEW_SETS = {1: (0,), 2: (0, 4), 4: (0, 1, 2, 3), 8: (0, 1, 2, 3, 4, 5, 6, 7)}

_CHUNK = 64
_FLOAT16_MAX = 65504.0
_SAVE_EVERY_S = 5.0
_PROGRESS_FILE = "progress.json"


class TileModel(Protocol):
    """What runs over tiles: an ONNX `Session`, or whatever has its face."""

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each output without the batch, by name."""

    def run(
        self, tiles: npt.NDArray[np.uint8], *, batch: int | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Run over `(tiles, px, px, 3)`, raw RGB, `batch` tiles at once.

        It is called on two threads; None chooses the number.
        """


def encode_tiles(  # noqa: PLR0913 - each says another thing of one pass
    read: ReadTiles,
    n_tiles: int,
    session: TileModel,
    folder: Path,
    *,
    key: str,
    views: int = 1,
    batch: int | None = None,
    outputs: Sequence[str] = ("features",),
    augment: AugmentTiles | None = None,
    progress: Progress | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Run a model over tiles and keep what it gives in `<output>.npy`.

    Each tile is read once for all its views, and the next tiles are read while the
    model runs on these. After an interruption it goes on with the tiles that are
    missing; a folder of another key is made anew.

    Args:
        read: From rows to `(rows, px, px, 3)` uint8; called on two threads.
        n_tiles: Rows 0 to n_tiles - 1 are encoded.
        session: The model.
        folder: Where the arrays lie; nobody else may write there meanwhile.
        key: Hash of all that the arrays depend on.
        views: 1, 2, 4 or 8 turns and flips.
        batch: Tiles in one call of the model; None as for `Session.run`.
        outputs: Which of the model's outputs are kept.
        augment: Changes the tiles of one view, from (tiles, rows, view number), on
            two threads; what it does must depend on these alone.
        progress: Told of every chunk.

    Returns:
        Read-only maps `(views, n_tiles, ...)` by output: vectors as float32,
        activations as float16, limited to what that can hold (65,504).

    Raises:
        RunError: The disk is too small, or cannot be written.
        SlideError: A tile cannot be read.
        ModelError: The model lacks one of the outputs, or fails.
        ValueError: `views` is another number, or `read` gives too few tiles.
    """
    numbers = find_views(views)
    shapes = _find_shapes(session, outputs, (views, n_tiles))
    state = folder / _PROGRESS_FILE
    done = _find_done(state, key, n_tiles, shapes)
    if done == n_tiles:
        return {name: _open_array(folder, name, "r") for name in outputs}
    arrays = (
        {name: _open_array(folder, name, "r+") for name in outputs}
        if done is not None
        else _make_arrays(state, folder, shapes)
    )
    remaining = range(done or 0, n_tiles)
    read_all = require_every_tile(read)

    def encode(rows: Rows) -> None:
        tiles = read_all(rows)
        for index, view in enumerate(numbers):
            turned = apply_view(tiles, view)
            if augment is not None:
                turned = augment(turned, rows, view)
            given = session.run(turned, batch=batch)
            for name, array in arrays.items():
                values = given[name]
                if array.dtype == np.float16:
                    # Limited to what it holds, so that none becomes infinite.
                    values = np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX)
                array[index, rows[0] : rows[-1] + 1] = values

    size = max(_CHUNK, batch or 0)
    # Two at work, so that the model has always something to do.
    chunks = iter_read_ahead(encode, remaining, size, threads=2)
    with (
        (progress or Progress()).task("Encoding tiles", n_tiles) as task,
        closing(chunks),
    ):
        task.advance(remaining.start)
        saved = time.monotonic()
        for rows, _ in chunks:
            task.advance(len(rows))
            if time.monotonic() - saved > _SAVE_EVERY_S:
                _save(state, key, arrays, int(rows[-1]) + 1)
                saved = time.monotonic()
        _save(state, key, arrays, n_tiles)
    return {name: _open_array(folder, name, "r") for name in outputs}


def read_encoded(
    folder: Path, key: str, n_tiles: int, output: str
) -> npt.NDArray[Any] | None:
    """Map one of the arrays that `encode_tiles` finished under a key, `(views, tiles)`.

    None where it is missing or unfinished, or of another number of tiles.
    """
    try:
        if read_json(folder / _PROGRESS_FILE) == {"key": key, "n_done": n_tiles}:
            return _open_array(folder, output, "r")
    except (RunError, OSError, ValueError):
        pass
    return None


def find_views(views: int) -> tuple[int, ...]:
    """Return the dihedral views that stand for a number of views.

    Raises:
        ValueError: It is not 1, 2, 4 or 8.
    """
    if views not in VIEW_SETS:
        raise ValueError(f"views must be 1, 2, 4 or 8, got {views}")
    return VIEW_SETS[views]


def _find_shapes(
    session: TileModel, outputs: Sequence[str], lead: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    """Return the whole array's shape of each output."""
    shapes = {}
    for name in outputs:
        shape = session.outputs.get(name)
        if shape is None or not all(isinstance(length, int) for length in shape):
            raise ModelError(
                f"encoding needs the model's output {name!r} with a fixed shape; the "
                f"model gives {session.outputs}"
            )
        shapes[name] = (*lead, *shape)
    return shapes


def _find_done(
    state: Path, key: str, n_tiles: int, shapes: Mapping[str, tuple[int, ...]]
) -> int | None:
    """Find how many tiles were encoded under the same key; None without arrays."""
    try:
        content = read_json(state)
        arrays = {name: _open_array(state.parent, name, "r") for name in shapes}
        is_same = content["key"] == key and 0 <= content["n_done"] <= n_tiles
    except (RunError, OSError, ValueError, KeyError, TypeError):
        return None
    fits = all(
        arrays[name].shape == shape and arrays[name].dtype == _choose_dtype(shape)
        for name, shape in shapes.items()
    )
    return int(content["n_done"]) if is_same and fits else None


def _make_arrays(
    state: Path, folder: Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[Any]]:
    if folder.exists():
        # First of all: these arrays must never pass for those of an older key.
        state.unlink(missing_ok=True)
        for path in folder.glob("*.npy"):
            path.unlink()
    sizes = {
        name: int(np.prod(shape)) * np.dtype(_choose_dtype(shape)).itemsize
        for name, shape in shapes.items()
    }
    require_free_space(folder, sum(sizes.values()), "keeping the encoded tiles")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, shape in shapes.items():
        path = folder / f"{name}.npy"
        with needing_space(path, sizes[name]):
            arrays[name] = np.lib.format.open_memmap(
                path, mode="w+", dtype=_choose_dtype(shape), shape=shape
            )
            reserve_space(path, 0, path.stat().st_size)
    return arrays


@contextmanager
def needing_space(path: Path, n_bytes: int) -> Iterator[None]:
    """Say how much a file needs where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: {n_bytes / 1e9:.2f} GB for the encoded tiles cannot be written "
            f"({error.strerror or error})"
        ) from error


def reserve_space(path: Path, start: int, n_bytes: int) -> None:
    """Take a file's space now, so that a disk that fills later does no harm.

    Writing to a map whose file finds no space ends the process without a word.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), start, n_bytes)


def _open_array(folder: Path, name: str, mode: Literal["r", "r+"]) -> npt.NDArray[Any]:
    path = folder / f"{name}.npy"
    return np.asanyarray(np.load(path, mmap_mode=mode, allow_pickle=False))


def _choose_dtype(shape: tuple[int, ...]) -> type[np.floating[Any]]:
    """Keep vectors exactly; activations, which are many, at half the size."""
    return np.float32 if len(shape) == 3 else np.float16


def _save(
    state: Path, key: str, arrays: dict[str, npt.NDArray[Any]], n_done: int
) -> None:
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined] # a memory map
    write_json(state, {"key": key, "n_done": n_done})
