"""What a limit study writes beside its page, and what must be said of it."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from eosin.core import atomic_path
from eosin.workflows.limit_sides import StudyTiles
from eosin.workflows.limit_tables import LimitTables

TABLES = ("cells", "summary", "limits", "ceilings", "sources", "splits")

# Fewer on a test side, and the study is about these few.
_FEW_PATIENTS = 5
# An instance AUC of colour alone from which on it may be what is found.
_MUCH_COLOUR = 0.7


def write_tables(
    out: Path, data: StudyTiles, *, tables: LimitTables, sources: pd.DataFrame
) -> None:
    """Write the tables of a study as CSV, each whole or not at all.

    Raises:
        RunError: A file cannot be written.
    """
    frames = (
        tables.cells,
        tables.summary,
        tables.limits,
        tables.ceilings,
        sources,
        data.splits,
    )
    for name, frame in zip(TABLES, frames, strict=True):
        with atomic_path(out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")


def find_cautions(
    data: StudyTiles, sources: pd.DataFrame, tables: LimitTables
) -> Iterator[str]:
    """Say what must be known before believing the numbers, as sentences."""
    test = sources[sources["side"] == "test"]
    least = int(test["patients_with_witnesses"].min())
    if least < _FEW_PATIENTS:
        yield (
            f"All positive test bags are drawn from {test['witness_tiles'].sum():,} "
            f"witness tiles of {test['patients_with_witnesses'].sum()} patients, "
            f"{least} in the smallest fold: more bags make the numbers smoother, not "
            "surer. The intervals over patients say how sure they are."
        )
    if not data.knows_patients:
        yield "Patients are not known; sides share no slide, but may share a patient."
    colour = tables.ceilings[tables.ceilings["source"] == "colour"]
    if len(colour) and colour["instance_auc"].iloc[0] >= _MUCH_COLOUR:
        yield (
            "The mean colour of a tile alone tells witnesses with an AUC of "
            f"{colour['instance_auc'].iloc[0]:.2f} on held-out patients; what a model "
            "finds may be colour, not tissue."
        )
