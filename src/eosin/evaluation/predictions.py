"""The prediction table: its schema, and how it is read, checked and written.

One table holds a study's predictions at every level: a row for each tile, for
each slide and for each patient. `predictions.parquet` is this table with the
class names in the file's metadata.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from eosin.core import ManifestError, read_parquet, write_parquet

Level = Literal["tile", "slide", "patient"]

LEVELS: tuple[Level, ...] = get_args(Level)
SPLITS = ("train", "val", "test", "external")

_FORMAT = 1
_METADATA_KEY = b"eosin.predictions"
_ID_COLUMNS = ("level", "id", "slide_id", "patient_id", "split")
_PLACE_COLUMNS = ("x_px0", "y_px0", "size_px0")
# Softmax in float16 sums to 1 within about 1e-3.
_SUM_TOLERANCE = 5e-3


def predictions_schema(class_names: Sequence[str]) -> pa.Schema:
    """Declare the columns of a prediction table and their types.

    Args:
        class_names: Class names in the order of their labels.
    """
    return pa.schema(
        [
            pa.field("level", pa.string(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("slide_id", pa.string()),
            pa.field("patient_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("label", pa.int64()),
            *(
                pa.field(name, pa.float64(), nullable=False)
                for name in probability_columns(class_names)
            ),
            *(pa.field(name, pa.int64()) for name in _PLACE_COLUMNS),
        ]
    )


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """Name the probability column of each class, in the order of the labels."""
    return [f"probability_{name}" for name in class_names]


def probabilities_of(
    table: pd.DataFrame, class_names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Take the probabilities out of a table, `(rows, classes)`."""
    return table[probability_columns(class_names)].to_numpy(dtype=np.float64)


def labels_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Take the labels out of a table, `(rows,)`; -1 where there is none."""
    return table["label"].fillna(-1).to_numpy(dtype=np.int64)


def select_level(
    table: pd.DataFrame, level: Level, *, split: str | None = None
) -> pd.DataFrame:
    """Return the rows of one level, and of one split where it is given."""
    is_kept = table["level"] == level
    if split is not None:
        is_kept &= table["split"] == split
    return table[is_kept].reset_index(drop=True)


def build_tile_predictions(
    tiles: pd.DataFrame,
    probabilities: npt.NDArray[np.floating[Any]],
    class_names: Sequence[str],
) -> pd.DataFrame:
    """Join a manifest's tiles and a model's probabilities into a prediction table.

    Args:
        tiles: Columns `tile_id`, `slide_id`, `patient_id`, `split` and `label`;
            `x_px0`, `y_px0` and `size_px0` are taken over where they are there.
        probabilities: `(tiles, classes)`, each row adding up to 1.
        class_names: Class names in the order of their labels.

    Raises:
        ManifestError: A column is missing, or the result breaks the schema.
        ValueError: `probabilities` has another shape.
    """
    if probabilities.shape != (len(tiles), len(class_names)):
        raise ValueError(
            f"probabilities must be {len(tiles)} tiles x {len(class_names)} classes, "
            f"got an array of shape {probabilities.shape}"
        )
    needed = ("tile_id", "slide_id", "patient_id", "split", "label")
    if missing := [name for name in needed if name not in tiles.columns]:
        raise ManifestError(
            f"the tile table must have the column(s) {', '.join(missing)}"
        )
    table = pd.DataFrame({"level": "tile", "id": tiles["tile_id"].astype(str)})
    for name in needed[1:]:
        table[name] = tiles[name]
    table[probability_columns(class_names)] = np.asarray(probabilities, np.float64)
    for name in _PLACE_COLUMNS:
        table[name] = tiles[name] if name in tiles.columns else pd.NA
    return check_predictions(table, class_names)


def check_predictions(
    table: pd.DataFrame, class_names: Sequence[str], *, where: str = "predictions"
) -> pd.DataFrame:
    """Hold a table to the schema and return it with exactly its columns and types.

    Args:
        table: A prediction table; extra columns are left out of the result.
        class_names: Class names in the order of their labels, at least two.
        where: What the messages call the table, such as its path.

    Raises:
        ManifestError: Something breaks the schema; every problem is listed.
    """
    names = tuple(class_names)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ManifestError(
            f"{where}: needs two or more different class names, got {list(names)}"
        )
    schema = predictions_schema(names)
    missing = [name for name in schema.names if name not in table.columns]
    if missing := [name for name in missing if name not in _PLACE_COLUMNS]:
        raise ManifestError(
            f"{where}: must have the column(s) {', '.join(missing)}; "
            f"it has {', '.join(map(str, table.columns))}"
        )
    table = _cast(table, schema, where)
    if problems := list(_find_problems(table, names)):
        raise ManifestError(f"{where}: " + "; ".join(problems))
    return table


def write_predictions(
    path: Path, table: pd.DataFrame, class_names: Sequence[str]
) -> None:
    """Write a prediction table as Parquet, whole or not at all.

    Raises:
        ManifestError: The table breaks the schema.
        RunError: The file cannot be written.
    """
    table = check_predictions(table, class_names, where=str(path))
    content = json.dumps({"format": _FORMAT, "class_names": list(class_names)})
    schema = predictions_schema(class_names)
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    write_parquet(path, arrow, key=_METADATA_KEY, content=content)


def read_predictions(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a prediction table and its class names.

    Raises:
        ManifestError: The file is missing, is no prediction table, was written
            by another version, or breaks the schema.
    """
    path = Path(path)
    arrow = read_parquet(path, "prediction table")
    class_names = _read_class_names(path, arrow.schema.metadata or {})
    return (
        check_predictions(arrow.to_pandas(), class_names, where=str(path)),
        class_names,
    )


def _read_class_names(path: Path, metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    if _METADATA_KEY not in metadata:
        raise ManifestError(
            f"{path}: is a Parquet table, but not one of predictions: "
            f"'{_METADATA_KEY.decode()}' is not in its metadata"
        )
    content = json.loads(metadata[_METADATA_KEY])
    if content.get("format") != _FORMAT:
        raise ManifestError(
            f"{path}: has prediction format {content.get('format')}; this version "
            f"of eosin reads {_FORMAT}; run the evaluation again"
        )
    return tuple(content["class_names"])


def _cast(table: pd.DataFrame, schema: pa.Schema, where: str) -> pd.DataFrame:
    """Bring every column to its declared type."""
    columns: dict[str, Any] = {}
    for field in schema:
        column = table.get(field.name)
        if column is None:
            column = pd.Series(pd.NA, index=table.index)
        try:
            columns[field.name] = _cast_column(column, field.type)
        except (TypeError, ValueError) as error:
            raise ManifestError(
                f"{where}: column {field.name} must hold {field.type} values ({error})"
            ) from error
    return pd.DataFrame(columns).reset_index(drop=True)


def _cast_column(column: pd.Series, kind: pa.DataType) -> pd.Series:
    if pa.types.is_string(kind):
        return column.astype("string").astype("str")
    if pa.types.is_integer(kind):
        return pd.to_numeric(column).astype("Int64")
    return column.astype("float64")


def _find_problems(table: pd.DataFrame, class_names: Sequence[str]) -> Iterator[str]:
    """Yield what breaks the schema, one sentence each."""
    for name in _ID_COLUMNS:
        is_null = table[name].isna()
        if name == "slide_id":
            # A patient's row may stand for several slides.
            is_null &= table["level"] != "patient"
        if is_null.any():
            yield f"{name} is empty in {is_null.sum()} row(s)"
    yield from _find_unknown(table, "level", LEVELS)
    yield from _find_unknown(table, "split", SPLITS)
    labels = table["label"].dropna()
    if bad := sorted(set(labels[(labels < 0) | (labels >= len(class_names))])):
        yield (
            f"label must be 0 to {len(class_names) - 1} or empty, got "
            f"{', '.join(map(str, bad[:5]))}"
        )
    yield from _find_bad_probabilities(probabilities_of(table, class_names))
    is_repeated = table.duplicated(["level", "id"])
    if is_repeated.any():
        row = table[is_repeated].iloc[0]
        yield (
            f"{is_repeated.sum()} row(s) repeat an id of their level, "
            f"such as {row['level']} {row['id']}"
        )
    yield from _find_divided(table, "patient_id", "split")
    yield from _find_divided(table, "slide_id", "patient_id")


def _find_unknown(
    table: pd.DataFrame, column: str, known: Sequence[str]
) -> Iterator[str]:
    if unknown := sorted(set(table[column].dropna()) - set(known)):
        yield f"{column} must be one of {', '.join(known)}, got {', '.join(unknown)}"


def _find_bad_probabilities(
    probabilities: npt.NDArray[np.float64],
) -> Iterator[str]:
    is_bad = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if is_bad.any():
        yield (
            f"probabilities must lie in 0 to 1; {is_bad.sum()} row(s) do not, the "
            f"first is row {int(np.argmax(is_bad))}"
        )
        return
    sums = probabilities.sum(axis=1)
    is_off = np.abs(sums - 1) > _SUM_TOLERANCE
    if is_off.any():
        first = int(np.argmax(is_off))
        yield (
            f"each row's probabilities must add up to 1; {is_off.sum()} row(s) do "
            f"not, row {first} has {sums[first]:.4f}"
        )


def _find_divided(table: pd.DataFrame, owner: str, part: str) -> Iterator[str]:
    """Yield a sentence when one owner has two values of `part`."""
    pairs = table[[owner, part]].dropna().drop_duplicates()
    counts = pairs.groupby(owner, sort=True)[part].nunique()
    if divided := list(counts[counts > 1].index):
        yield (
            f"one {owner} must have one {part}; these have more: "
            f"{', '.join(map(str, divided[:5]))}"
        )
