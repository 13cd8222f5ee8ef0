"""What features of tiles depend on, slide by slide."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eosin.cohorts import fingerprint_readable
from eosin.core import hash_object
from eosin.tiles import TileFolder


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
