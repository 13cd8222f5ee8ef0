"""Encoding every tile once, in all its views, into arrays on disk."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.core import Progress, read_json, require_free_space, write_json
from eosin.inference.sessions import Session
from eosin.tiles import apply_view

Rows = npt.NDArray[np.int64]
Tiles = npt.NDArray[np.uint8]
ReadTiles = Callable[[Rows], Tiles]
AugmentTiles = Callable[[Tiles, Rows, int], Tiles]

# Which of the eight dihedral views stand for a number of views.
VIEW_SETS = {1: (0,), 2: (0, 4), 4: (0, 1, 2, 3), 8: (0, 1, 2, 3, 4, 5, 6, 7)}

_CHUNK = 64
_SAVE_EVERY_S = 5.0
_PROGRESS_FILE = "progress.json"


def encode_tiles(  # noqa: PLR0913 - each says another thing of one pass
    read: ReadTiles,
    n_tiles: int,
    session: Session,
    folder: Path,
    *,
    key: str,
    views: int = 1,
    outputs: Sequence[str] = ("features",),
    augment: AugmentTiles | None = None,
    progress: Progress | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Run a model over tiles and keep what it gives in `<output>.npy`.

    Each tile is read once for all its views, and the next tiles are read while the
    model runs. After an interruption it goes on with the tiles that are missing; a
    folder of another key is made anew.

    Args:
        read: From rows to `(rows, px, px, 3)` uint8.
        n_tiles: Rows 0 to n_tiles - 1 are encoded.
        session: The model.
        folder: Where the arrays lie.
        key: Hash of all that the arrays depend on.
        views: 1, 2, 4 or 8 turns and flips.
        outputs: Which of the model's outputs are kept.
        augment: Changes the tiles of one view, from (tiles, rows, view number);
            what it does must depend on these alone.
        progress: Told of every chunk.

    Returns:
        Read-only maps `(views, n_tiles, ...)` by output: vectors as float32,
        activations as float16.

    Raises:
        RunError: The disk is too small, or cannot be written.
        SlideError: A tile cannot be read.
    """
    state = folder / _PROGRESS_FILE
    done = _find_done(state, key, folder, outputs)
    arrays = _open_arrays(folder, session, outputs, (views, n_tiles), is_new=done == 0)
    starts = range(done, n_tiles, _CHUNK)
    with (progress or Progress()).task("Encoding tiles", n_tiles) as task:
        task.advance(done)
        saved = time.monotonic()
        for rows, tiles in _read_ahead(read, starts, n_tiles):
            for index, view in enumerate(VIEW_SETS[views]):
                turned = apply_view(tiles, view)
                if augment is not None:
                    turned = augment(turned, rows, view)
                found = session.run(turned)
                for name, array in arrays.items():
                    array[index, rows[0] : rows[-1] + 1] = found[name]
            task.advance(len(rows))
            if time.monotonic() - saved > _SAVE_EVERY_S:
                _save(state, key, arrays, int(rows[-1]) + 1)
                saved = time.monotonic()
        if done < n_tiles:
            _save(state, key, arrays, n_tiles)
    return {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in outputs
    }


def _find_done(state: Path, key: str, folder: Path, outputs: Sequence[str]) -> int:
    """Find how many tiles were encoded before, under the same key."""
    if not state.exists():
        return 0
    content = read_json(state)
    has_all = all((folder / f"{name}.npy").exists() for name in outputs)
    return int(content["n_done"]) if content.get("key") == key and has_all else 0


def _open_arrays(
    folder: Path,
    session: Session,
    outputs: Sequence[str],
    shape: tuple[int, int],
    *,
    is_new: bool,
) -> dict[str, npt.NDArray[Any]]:
    if not is_new:
        return {
            name: np.load(folder / f"{name}.npy", mmap_mode="r+", allow_pickle=False)
            for name in outputs
        }
    kinds = {
        name: ((*shape, *session.outputs[name]), _choose_dtype(session.outputs[name]))
        for name in outputs
    }
    n_bytes = sum(
        int(np.prod(size)) * np.dtype(dtype).itemsize for size, dtype in kinds.values()
    )
    if folder.exists():
        for path in folder.glob("*.npy"):
            path.unlink()
    require_free_space(folder, n_bytes, "keeping the encoded tiles")
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=dtype, shape=size
        )
        for name, (size, dtype) in kinds.items()
    }


def _choose_dtype(shape: tuple[int, ...]) -> type[np.floating[Any]]:
    """Keep vectors exactly; activations, which are many, at half the size."""
    return np.float32 if len(shape) == 1 else np.float16


def _save(
    state: Path, key: str, arrays: dict[str, npt.NDArray[Any]], n_done: int
) -> None:
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined] # a memory map
    write_json(state, {"key": key, "n_done": n_done})


def _read_ahead(
    read: ReadTiles, starts: range, n_tiles: int
) -> Iterator[tuple[Rows, Tiles]]:
    """Read chunks in order, one ahead of whoever takes them."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: tuple[Rows, Future[Tiles]] | None = None
        for start in starts:
            rows = np.arange(start, min(start + _CHUNK, n_tiles), dtype=np.int64)
            following = (rows, pool.submit(read, rows))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()
