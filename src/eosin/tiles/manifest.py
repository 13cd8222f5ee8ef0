"""The tile table: what its columns are, and what is the same for all of its tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from eosin.core import Column, TableSchema


@dataclass(frozen=True, kw_only=True)
class ManifestInfo:
    """What is the same for all tiles of a table.

    Attributes:
        mpp: Micrometres per pixel of a tile as read; None for patches of which nobody
            said it.
        tile_px: Side of a tile as read, in its own pixels.
        overlap_px: Pixels that neighbours share, in the tile's own pixels.
        class_names: Class of each label; label 0 is the negative class.
        resampling: Filter by which tiles are brought to their resolution; `none`
            where all are read as they are stored.
        grouping: What `slide_id` and `patient_id` rest on: `slides`, names that were
            `given` with patches, or `estimated` from near-duplicates alone.
        context: Side of what is read for a tile over the tile's own (see
            `TileSpec`).
        cautions: What must be known before believing results on these tiles, as
            sentences; model cards and reports take them over.
    """

    mpp: float | None
    tile_px: int
    overlap_px: int
    class_names: tuple[str, ...]
    resampling: str = "area"
    grouping: Literal["slides", "given", "estimated"] = "slides"
    context: float = 1.0
    cautions: tuple[str, ...] = ()

    def count_labels(self, tiles: pd.DataFrame) -> dict[str, int]:
        """Count tiles by class, the commonest first; `unlabelled` for those without."""
        names = tiles["label"].map(dict(enumerate(self.class_names)))
        counts = names.fillna("unlabelled").value_counts()
        return {str(name): int(n) for name, n in counts.items()}


def _find_problems(tiles: pd.DataFrame, info: ManifestInfo) -> Iterator[str]:
    is_repeated = tiles["tile_id"].duplicated()
    if is_repeated.any():
        yield f"tile_id {tiles.loc[is_repeated, 'tile_id'].iloc[0]} stands in two rows"
    labels = tiles["label"].dropna().to_numpy(np.int64)
    if len(labels) and labels.max() >= len(info.class_names):
        yield f"label must be 0 to {len(info.class_names) - 1}, got {labels.max()}"


TILE_SCHEMA = TableSchema(
    noun="tile table",
    key="eosin.tiles",
    info=ManifestInfo,
    remedy="tile the slides again",
    columns=(
        Column("tile_id", "string", "the tile's name, of which there is one"),
        Column("slide_id", "string", "its slide, or the group of patches alike"),
        Column("patient_id", "string", "its patient"),
        Column(
            "split",
            "string",
            "the side that was given",
            may_be_empty=True,
            choices=("train", "val", "test"),
        ),
        Column("x_px0", "int64", "left edge; 0 of patches", "level-0 pixels"),
        Column("y_px0", "int64", "upper edge; 0 of patches", "level-0 pixels"),
        Column("size_px0", "int64", "side", "level-0 pixels", least=1),
        Column(
            "label",
            "int8",
            "number of its class; 0 is the negative one",
            may_be_empty=True,
            least=0,
        ),
        Column("tissue_fraction", "float32", "share of tissue; 1 of patches", "0 to 1"),
        Column(
            "<class>_fraction",
            "float32",
            "share under outlines of the class",
            "0 to 1",
            may_be_empty=True,
        ),
        Column(
            "sharpness",
            "float32",
            "variance of the Laplacian",
            "grey levels squared",
            may_be_empty=True,
        ),
        *(
            Column(
                f"mean_{colour}",
                "float32",
                f"mean {colour} of its pixels",
                "0 to 255",
                may_be_empty=True,
            )
            for colour in ("red", "green", "blue")
        ),
        Column("flags", "string", "artefacts that it touches, joined by semicolons"),
    ),
    more=(
        Column(
            "source",
            "string",
            "file of a patch, relative to its slide's `path`, or in full",
        ),
        Column(
            "source_index",
            "int64",
            "its row in the data set `x` of an `.h5`; -1 of an image",
        ),
        Column("content_hash", "string", "of its pixels, 16 hexadecimal digits"),
        Column(
            "look_hash",
            "string",
            "of its low frequencies, likewise; few bits differ between near-duplicates",
        ),
    ),
    find_problems=_find_problems,
)
"""One row per tile; the last four columns are there for patches alone."""

read_manifest = TILE_SCHEMA.read
write_manifest = TILE_SCHEMA.write
