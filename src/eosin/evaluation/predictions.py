"""The prediction table: what its columns are, and how its rows are taken.

One table holds a study's predictions of every unit: a row for each tile, slide and
patient, or for each drawn bag. `predictions.parquet` is this table with the class names
in the file's metadata.
"""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import Column, TableSchema
from eosin.evaluation.targets import Classes

Unit = Literal["tile", "slide", "patient", "bag"]
"""What a label or a score belongs to; a bag is one that was drawn from tiles."""

UNITS: tuple[Unit, ...] = get_args(Unit)
SPLITS = ("train", "val", "test", "external")

_PLACE_COLUMNS = ("x_px0", "y_px0", "size_px0")
# Of which no single slide, or patient, can be named.
_WITHOUT_SLIDE = ("patient", "bag")
_WITHOUT_PATIENT = ("bag",)
# Softmax in float16 sums to 1 within about 1e-3.
_SUM_TOLERANCE = 5e-3


def labels_of(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Take the labels out of a table, `(rows,)`; -1 where there is none."""
    return table["label"].fillna(-1).to_numpy(dtype=np.int64)


def groups_of(table: pd.DataFrame) -> npt.NDArray[np.str_]:
    """Take out what does not depend on each other: patients, or bags without one."""
    return table["patient_id"].fillna(table["id"]).to_numpy(str)


def select_level(
    table: pd.DataFrame, level: Unit, *, split: str | None = None
) -> pd.DataFrame:
    """Return the rows of one unit, and of one split where it is given."""
    is_kept = table["level"] == level
    if split is not None:
        is_kept &= table["split"] == split
    return table[is_kept].reset_index(drop=True)


def build_predictions(
    rows: pd.DataFrame,
    values: npt.NDArray[np.floating[Any]],
    target: Classes,
    *,
    unit: Unit,
) -> pd.DataFrame:
    """Join units and what a model says of each into a prediction table.

    Args:
        rows: Columns `id` (of tiles `tile_id`), `patient_id`, `split` and `label`; of
            tiles `slide_id` as well, and `x_px0`, `y_px0` and `size_px0` where they are
            known. Drawn bags are of many patients, so that theirs is not taken over.
        values: Probabilities, `(rows, classes)`, each row adding up to 1.
        target: The classes.
        unit: What the rows are.

    Raises:
        ManifestError: A column is missing, or the result breaks the schema.
        ValueError: `values` has another shape.
    """
    if values.shape != (len(rows), len(target.columns)):
        raise ValueError(
            f"probabilities of {len(target.columns)} classes are needed for each of "
            f"{len(rows)} rows, got an array of shape {values.shape}"
        )
    table = rows.rename(columns={"tile_id": "id"}) if unit == "tile" else rows
    if unit != "tile":
        table = table.assign(slide_id=table["id"] if unit == "slide" else None)
    if unit in _WITHOUT_PATIENT:
        table = table.assign(patient_id=None)
    columns = dict(zip(target.columns, values.T, strict=True))
    return PREDICTION_SCHEMA.check(table.assign(level=unit, **columns), target)


def _find_problems(table: pd.DataFrame, target: Classes) -> Iterator[str]:
    for name, without in (
        ("slide_id", _WITHOUT_SLIDE),
        ("patient_id", _WITHOUT_PATIENT),
    ):
        is_empty = table[name].isna() & ~table["level"].isin(without)
        if is_empty.any():
            yield f"{name} is empty in row {is_empty.to_numpy().argmax()}"
    labels = labels_of(table)
    if len(labels) and labels.max() >= len(target.class_names):
        last = len(target.class_names) - 1
        yield f"label must be 0 to {last} or empty, got {labels.max()}"
    values = target.take(table)
    is_off = ~((values >= 0) & (values <= 1)).all(axis=1)
    if is_off.any():
        yield f"probabilities must lie in 0 to 1, not so in row {is_off.argmax()}"
    sums = values.sum(axis=1)
    is_off = np.abs(sums - 1) > _SUM_TOLERANCE
    if is_off.any():
        row = int(is_off.argmax())
        yield f"probabilities must add up to 1, row {row} has {sums[row]:.4f}"
    is_repeated = table.duplicated(["level", "id"])
    if is_repeated.any():
        unit, name = table.loc[is_repeated, ["level", "id"]].iloc[0]
        yield f"{unit} {name} stands in two rows"
    for owner, part in (("patient_id", "split"), ("slide_id", "patient_id")):
        pairs = table[[owner, part]].dropna().drop_duplicates()
        divided = pairs.loc[pairs[owner].duplicated(), owner]
        if len(divided):
            names = ", ".join(divided.astype(str).unique()[:5])
            yield f"one {owner} must have one {part}; these have more: {names}"


PREDICTION_SCHEMA = TableSchema(
    noun="prediction table",
    key="eosin.predictions",
    info=Classes,
    remedy="run the evaluation again",
    columns=(
        Column("level", "string", "what the row is of", choices=UNITS),
        Column("id", "string", "name of the tile, slide, patient or bag"),
        Column(
            "slide_id", "string", "its slide, where it is of one", may_be_empty=True
        ),
        Column(
            "patient_id", "string", "its patient; none of drawn bags", may_be_empty=True
        ),
        Column("split", "string", "the side it is on", choices=SPLITS),
        Column("label", "int64", "number of its class", may_be_empty=True, least=0),
        Column("probability_<class>", "float64", "that it is of the class", "0 to 1"),
        *(
            Column(
                name,
                "int64",
                meaning,
                "level-0 pixels",
                may_be_empty=True,
                may_lack=True,
            )
            for name, meaning in zip(
                _PLACE_COLUMNS,
                ("left edge of a tile", "its upper edge", "its side"),
                strict=True,
            )
        ),
    ),
    find_problems=_find_problems,
)

read_predictions = PREDICTION_SCHEMA.read
write_predictions = PREDICTION_SCHEMA.write
