"""The feature store: what an encoder gives of a tile and view, encoded once for all."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from eosin.cohorts import fingerprint_readable
from eosin.core import (
    Progress,
    RunError,
    atomic_path,
    hash_object,
    raising,
    read_json,
    require_free_space,
    to_file_name,
    write_json,
)
from eosin.inference.encoding import (
    TileModel,
    encode_tiles,
    find_views,
    needing_space,
    reserve_space,
)
from eosin.tiles import N_VIEWS, TileFolder

Rows = npt.NDArray[np.int64]

CACHE_NAME = "cache"
MAX_BYTES = 20e9
"""What is kept of a tile folder beside what is in use; the longest unused goes."""

_CARD, _DONE, _FEATURES = "encoder.json", "done.npy", "features.npy"
_PROGRESS = "progress.json"
# Features are a map of a file that may be larger than memory.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Part:
    """The tiles of one slide, which stand together; or all patches of a data set.

    Attributes:
        slide_id: The slide; empty for patches.
        key: Hash of the slide's file, its tiles' places, and how they are shown.
        first: Their first row in the tile table.
        n: How many they are.
    """

    slide_id: str
    key: str
    first: int
    n: int


class EncodedTiles:
    """Features of a tile folder by one encoder, whoever asked for them.

    They lie in `cache/<encoder>-<hash>/` of the tile folder: `features.npy`, one place
    for each tile in each of the eight views, and `done.npy`, which of them are filled.
    What was encoded of a slide is taken over when the table changes around it.
    Space is taken for the views that were asked for, 4 bytes a number. A call that is
    killed goes on where it was; between two calls the folder may be deleted.

    Attributes:
        path: Where they lie.
        graph: Hash of what the encoder computes, from `Session.encoder_hash`.
    """

    def __init__(self, folder: TileFolder, path: Path) -> None:
        self._folder = folder
        self.path = path
        self.graph: str = read_json(path / _CARD)["graph"]
        # Says when it was last of use.
        with suppress(OSError):
            os.utime(path / _CARD)

    def is_done(self, rows: Rows, views: int) -> npt.NDArray[np.bool_]:
        """Say which rows of the tile table are encoded in all of some views."""
        done = self._load(_DONE)
        return np.asarray(done[list(find_views(views))][:, rows].all(axis=0))

    def read(self, views: int) -> npt.NDArray[np.float32]:
        """Map all features, `(views, rows of the tile table, dimension)`.

        Raises:
            RunError: The files are gone, or damaged.
        """
        first, *others = find_views(views)
        step = others[0] - first if others else 1
        array = self._load(_FEATURES, mmap_mode="r")
        return np.asanyarray(array[first : first + views * step : step])

    def encode(
        self,
        rows: Rows,
        views: int,
        open_model: Callable[[], TileModel],
        *,
        batch: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Encode the rows of the tile table that are missing, as `encode_tiles` does.

        A model of this encoder is opened only where not all is there. A slide that was
        replaced after it was tiled is a `SlideError`, whatever is kept of it.
        """
        self._folder.require_unchanged(self._folder.tiles["slide_id"].iloc[rows])
        # Others that want the same wait here, and find it done.
        if self.is_done(rows, views).all():
            return
        if not all(os.access(p, os.W_OK) for p in (self.path, self.path.parent)):
            raise RunError(
                f"{self.path}: encoded tiles are kept here, and it may not be written "
                "to; allow it, or copy the tile folder"
            )
        with FileLock(f"{self.path}.lock"):
            missing = rows[~self.is_done(rows, views)]
            if not len(missing):
                return
            make_room(self._folder, self.path)
            part = self.path / "part"
            with self._folder.open_reader(
                self._folder.tiles.iloc[missing].reset_index(drop=True)
            ) as reader:
                encoded = encode_tiles(
                    reader.read,
                    len(missing),
                    open_model(),
                    part,
                    key=hash_object([self.path.name, views, missing.tolist()]),
                    views=views,
                    batch=batch,
                    progress=progress,
                )
            every = np.arange(len(missing))
            self._put(missing, find_views(views), encoded["features"], every)
            del encoded
            shutil.rmtree(part, ignore_errors=True)

    def put(self, rows: Rows, views: int, features: npt.NDArray[Any]) -> None:
        """Take over what was encoded on another occasion, unless it is there already.

        Of the features, `(views, rows of the tile table, dimension)`, so many views are
        taken from the first.
        """
        with FileLock(f"{self.path}.lock"):
            new = np.flatnonzero(~self.is_done(rows, views))
            if len(new):
                self._put(rows[new], find_views(views), features, new)

    def copy_parts(self, older: Path, pairs: Sequence[tuple[Part, Part]]) -> None:
        """Take over parts of another array, as far as they are encoded there."""
        done = np.load(older / _DONE, allow_pickle=False)
        features = np.load(older / _FEATURES, mmap_mode="r", allow_pickle=False)
        for old, new in pairs:
            rows = slice(old.first, old.first + old.n)
            for view in np.flatnonzero(done[:, rows].any(axis=1)).tolist():
                places = np.flatnonzero(done[view, rows])
                self._put(
                    places + new.first, (view,), features[view : view + 1, rows], places
                )

    def _put(
        self,
        rows: Rows,
        numbers: tuple[int, ...],
        features: npt.NDArray[Any],
        places: Rows,
    ) -> None:
        """Write to `rows` what stands at `places` of the features."""
        done, array = self._load(_DONE), self._load(_FEATURES, mmap_mode="r+")
        path, size = self.path / _FEATURES, array[0].nbytes
        new = [view for view in numbers if not done[view].any()]
        require_free_space(self.path, len(new) * size, "keeping the encoded tiles")
        with needing_space(path, size):
            start = path.stat().st_size - array.nbytes
            for view in new:
                reserve_space(path, start + view * size, size)
        for index, view in enumerate(numbers):
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
                array[view, rows[block]] = features[index][places[block]]
            done[view, rows] = True
        array.flush()
        # Last of all: what is killed before this is written again.
        with atomic_path(self.path / _DONE) as temporary, temporary.open("wb") as file:
            np.save(file, done)

    def _load(self, name: str, mmap_mode: Literal["r", "r+"] | None = None) -> Any:
        path = self.path / name
        failure = f"{path}: encoded tiles cannot be read"
        remedy = "were they deleted by another command? Run it again"
        with raising(RunError, failure, remedy=remedy):
            return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)


def list_parts(folder: TileFolder) -> list[Part]:
    """List the parts of a tile table, each with all that its features depend on."""
    tiles, info = folder.tiles, folder.info
    shown = [info.tile_px, info.mpp, info.context]
    paths = dict(zip(folder.slides["slide_id"], folder.slides["path"], strict=True))
    if folder.has_patches:
        pairs = zip(tiles["slide_id"], tiles["source"], strict=True)
        files = dict.fromkeys(Path(paths[owner], source) for owner, source in pairs)
        sizes = [(f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
        return [Part("", hash_object([folder.sha256, sizes, shown]), 0, len(tiles))]
    places = tiles[["x_px0", "y_px0", "size_px0"]].to_numpy(np.int64)
    owners = tiles["slide_id"].to_numpy(str)
    is_first = owners[1:] != owners[:-1]
    starts = np.flatnonzero(np.r_[True, is_first] if len(tiles) else []).tolist()
    parts = []
    for first, end in zip(starts, [*starts[1:], len(tiles)], strict=False):
        slide_id = str(owners[first])
        where = hashlib.sha256(places[first:end].tobytes()).hexdigest()
        content = [fingerprint_readable(str(paths[slide_id])), where, shown]
        parts.append(Part(slide_id, hash_object(content), first, end - first))
    return parts


def hash_parts(parts: Sequence[Part]) -> str:
    """Hash a whole table by its parts, in their order."""
    return hash_object([[part.key, part.first] for part in parts])


def find_encoded(
    folder: TileFolder, *, graph: str = "", weights: str | None = None
) -> EncodedTiles | None:
    """Find what one encoder gave of these very tiles, if it ran before.

    It is known by the hash of what it computes, or of its Keras weights.
    """
    wanted = {"tiles": hash_parts(list_parts(folder))}
    wanted |= {"graph": graph} if weights is None else {"weights": weights}
    for path, content in _iter_cards(folder.path / CACHE_NAME):
        if wanted.items() <= content.items():
            with suppress(RunError):
                encoded = EncodedTiles(folder, path)
                encoded.is_done(np.empty(0, np.int64), 1)
                encoded.read(1)
                return encoded
    return None


def open_encoded(
    folder: TileFolder,
    *,
    encoder: str,
    graph: str,
    dimension: int,
    weights: str | None = None,
) -> EncodedTiles:
    """Open the place of one encoder's features, made where there is none.

    Slides that were encoded before, and whose file and tiles are as they were, are
    taken over from an older table.

    Args:
        folder: The tiles.
        encoder: Its name.
        graph: Hash of what it computes (`Session.encoder_hash`), or of the description
            and weights of an encoder that has no graph.
        dimension: Numbers that it gives of a tile.
        weights: Hash of its Keras weights, by which it is found as well.

    Raises:
        RunError: The place cannot be written.
    """
    parts = list_parts(folder)
    tiles = hash_parts(parts)
    cache = folder.path / CACHE_NAME
    path = cache / f"{to_file_name(encoder)}-{hash_object([tiles, graph])[:16]}"
    _require_writable(cache, path)
    with FileLock(f"{path}.lock"):
        known = find_encoded(folder, graph=graph)
        if known is not None:
            path = known.path
        else:
            _make(path, (N_VIEWS, len(folder.tiles), dimension))
        if known is None or weights is not None:
            card = {"tiles": tiles, "graph": graph, "weights": weights}
            write_json(path / _CARD, card | {"parts": [asdict(part) for part in parts]})
        encoded = EncodedTiles(folder, path)
        if known is None:
            _take_over(encoded, parts)
            make_room(folder, path)
    return encoded


def _take_over(encoded: EncodedTiles, parts: Sequence[Part]) -> None:
    """Copy what the same encoder gave of slides that are as they were."""
    wanted = {part.key: part for part in parts}
    for path, content in _iter_cards(encoded.path.parent):
        if path == encoded.path or content.get("graph") != encoded.graph:
            continue
        with suppress(RunError, FileNotFoundError):
            encoded.copy_parts(
                path,
                [
                    (Part(**old), wanted[old["key"]])
                    for old in content.get("parts", ())
                    if old["key"] in wanted
                ],
            )


def _require_writable(cache: Path, path: Path) -> None:
    """Make the cache, and stop where neither it nor its locks can be written."""
    lock = Path(f"{path}.lock")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise RunError(
            f"{cache}: encoded tiles are kept here, and it cannot be written to "
            f"({error.strerror or error}); allow it, or copy the tile folder"
        ) from error


def make_room(folder: TileFolder, path: Path) -> None:
    """Delete what was encoded and is of no more use, before more is, but for `path`.

    That is what belongs to another tile table, and, above `MAX_BYTES`, what was not
    used for the longest time.
    """
    cache = folder.path / CACHE_NAME
    cards = dict(_iter_cards(cache))
    tiles = hash_parts(list_parts(folder))
    others = [p for p in cache.iterdir() if p.is_dir() and p != path]
    sizes = {p: _measure(p) for p in others}
    total = sum(sizes.values())
    for other in sorted(others, key=_find_last_use):
        card = cards.get(other)
        is_old = card is not None and card["tiles"] != tiles
        if is_old or total > MAX_BYTES:
            with suppress(Timeout), FileLock(f"{other}.lock", timeout=0):
                shutil.rmtree(other, ignore_errors=True)
                total -= sizes[other]


def _make(path: Path, shape: tuple[int, ...]) -> None:
    """Make empty arrays; the file of features takes no space yet."""
    path.mkdir(exist_ok=True)
    (path / _CARD).unlink(missing_ok=True)
    np.lib.format.open_memmap(
        path / _FEATURES, mode="w+", dtype=np.float32, shape=shape
    )
    np.save(path / _DONE, np.zeros(shape[:2], bool))


def _iter_cards(cache: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(cache.glob(f"*/{_CARD}")):
        with suppress(RunError):
            yield path.parent, read_json(path)


def _measure(path: Path) -> int:
    """Count the bytes that a folder takes on the disk."""
    stats = [p.stat() for p in path.rglob("*") if p.is_file()]
    # Files have places that are not filled; not every system counts blocks.
    return sum(int(getattr(s, "st_blocks", s.st_size // 512)) * 512 for s in stats)


def _find_last_use(path: Path) -> float:
    times = [p.stat().st_mtime for p in (path / _CARD, path / _PROGRESS) if p.exists()]
    return max(times, default=0.0)
