"""The tile table: its schema, and how it is checked, written and read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from eosin.core import ManifestError, read_parquet, write_parquet

_FORMAT = 1
_METADATA_KEY = b"eosin.tiles"
_SPLITS = ("train", "val", "test")


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


def manifest_schema(
    class_names: tuple[str, ...], *, has_patches: bool = False
) -> pa.Schema:
    """Declare the columns of a tile table and their types.

    Args:
        class_names: Class of each label.
        has_patches: Whether the tiles are patches: files, or rows of HDF5 files,
            rather than places on slides. They have four columns more.
    """
    patch_fields = [
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_index", pa.int64(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("look_hash", pa.string(), nullable=False),
    ]
    return pa.schema(
        [
            pa.field("tile_id", pa.string(), nullable=False),
            pa.field("slide_id", pa.string(), nullable=False),
            pa.field("patient_id", pa.string(), nullable=False),
            pa.field("split", pa.string()),
            pa.field("x_px0", pa.int64(), nullable=False),
            pa.field("y_px0", pa.int64(), nullable=False),
            pa.field("size_px0", pa.int64(), nullable=False),
            pa.field("label", pa.int8()),
            pa.field("tissue_fraction", pa.float32(), nullable=False),
            *(pa.field(f"{name}_fraction", pa.float32()) for name in class_names),
            pa.field("sharpness", pa.float32()),
            pa.field("mean_red", pa.float32()),
            pa.field("mean_green", pa.float32()),
            pa.field("mean_blue", pa.float32()),
            pa.field("flags", pa.string(), nullable=False),
            *(patch_fields if has_patches else []),
        ]
    )


def write_manifest(path: Path, tiles: pd.DataFrame, info: ManifestInfo) -> None:
    """Write a tile table as Parquet, whole or not at all.

    Raises:
        ManifestError: The table breaks the schema.
        RunError: The file cannot be written.
    """
    schema = manifest_schema(info.class_names, has_patches="source" in tiles)
    _check(tiles, info, str(path))
    content = json.dumps({"format": _FORMAT, **asdict(info)})
    try:
        table = pa.Table.from_pandas(tiles, schema=schema, preserve_index=False)
    except (pa.ArrowException, KeyError) as error:
        raise ManifestError(
            f"{path}: the tile table breaks its schema ({error})"
        ) from error
    write_parquet(path, table, key=_METADATA_KEY, content=content)


def read_manifest(path: Path) -> tuple[pd.DataFrame, ManifestInfo]:
    """Read a tile table.

    Returns:
        The table, with `label` as Int8 (missing where there is none) and `split`
        as None where there is none; and what is the same for all tiles.

    Raises:
        ManifestError: The file is missing, no tile table, of another version, or
            breaks the schema.
    """
    path = Path(path)
    arrow = read_parquet(path, "tile table")
    info = _read_info(path, arrow)
    _check_types(arrow, info, path)
    tiles = arrow.to_pandas()
    tiles["label"] = pd.array(arrow["label"].to_pylist(), dtype="Int8")
    tiles["split"] = pd.Series(arrow["split"].to_pylist(), dtype="object")
    _check(tiles, info, str(path))
    return tiles, info


def _read_info(path: Path, arrow: pa.Table) -> ManifestInfo:
    metadata = arrow.schema.metadata or {}
    if _METADATA_KEY not in metadata:
        raise ManifestError(f"{path}: is a Parquet table, but not one of tiles")
    try:
        content = json.loads(metadata[_METADATA_KEY])
        if content.pop("format") == _FORMAT:
            content["class_names"] = tuple(content["class_names"])
            content["cautions"] = tuple(content.get("cautions", ()))
            return ManifestInfo(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{path}: its tile metadata is damaged ({error}); tile the slides again"
        ) from error
    raise ManifestError(
        f"{path}: was written by another version of eosin; tile the slides again"
    )


def _check_types(arrow: pa.Table, info: ManifestInfo, path: Path) -> None:
    """Hold the columns of a file to the schema's types."""
    has_patches = "source" in arrow.column_names
    for field in manifest_schema(info.class_names, has_patches=has_patches):
        if field.name not in arrow.column_names:
            raise ManifestError(f"{path}: has no column {field.name}")
        found = arrow.schema.field(field.name).type
        # pandas and polars write long strings where eosin writes short ones.
        is_text = field.type == pa.string() and pa.types.is_large_string(found)
        if found != field.type and not is_text:
            raise ManifestError(
                f"{path}: column {field.name} must be {field.type}, is {found}"
            )


def _check(tiles: pd.DataFrame, info: ManifestInfo, where: str) -> None:
    """Hold a table to what its columns promise."""
    schema = manifest_schema(info.class_names, has_patches="source" in tiles)
    if missing := [name for name in schema.names if name not in tiles.columns]:
        raise ManifestError(
            f"{where}: a tile table must have the column(s) {', '.join(missing)}"
        )
    problems = [
        f"{field.name} must not be empty"
        for field in schema
        if not field.nullable and tiles[field.name].isna().any()
    ]
    if tiles["tile_id"].duplicated().any():
        first = tiles.loc[tiles["tile_id"].duplicated(), "tile_id"].iloc[0]
        problems.append(f"tile_id {first} stands in two rows")
    labels = tiles["label"].dropna().to_numpy(np.int64)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(info.class_names)):
        problems.append(
            f"label must be 0 to {len(info.class_names) - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
    if len(tiles) and tiles["size_px0"].min() < 1:
        problems.append("size_px0 must be 1 or more")
    splits = set(tiles["split"].dropna())
    if not splits <= set(_SPLITS):
        unknown = ", ".join(sorted(map(str, splits - set(_SPLITS))))
        problems.append(f"split must be train, val or test, got {unknown}")
    if problems:
        raise ManifestError(f"{where}: {'; '.join(problems)}")
