"""Kaggle's submission: which ids it must have, and how it is written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import (
    Listing,
    iter_images,
    raise_problems,
    read_patch_csv,
    say_examples,
    strip_suffix,
)
from eosin.core import CohortError, write_csv

SAMPLE_FILE = "sample_submission.csv"


@dataclass(frozen=True)
class SubmissionPlan:
    """A submission and the ids that it must have, in this order, each once.

    `source` is where they were found.
    """

    path: Path
    ids: tuple[str, ...]
    source: Path

    def require(self, given: Sequence[str]) -> None:
        """Stop where ids are missing, surplus or there twice, with all of these."""
        counts, wanted = Counter(given), set(self.ids)
        missing = [name for name in self.ids if name not in counts]
        surplus = sorted(set(counts) - wanted)
        twice = sorted(name for name, n in counts.items() if n > 1)
        checks = (
            (missing, f"of {len(wanted):,} ids of {self.source} have no prediction"),
            (surplus, f"patches are not in {self.source}"),
            (twice, "ids have more than one patch"),
        )
        problems = [
            f"{len(names):,} {text} ({say_examples(names)})"
            for names, text in checks
            if names
        ]
        raise_problems(self.path, problems)


def plan_submission(path: Path, sample: Path | None, folder: Path) -> SubmissionPlan:
    """Find the ids that a submission must have.

    Those of the sample file; without one those of a `sample_submission.csv` in the
    data set's folder or the one above; else of the images in its `test` folder, or
    in itself where it has none.
    """
    near = [folder / SAMPLE_FILE, folder.parent / SAMPLE_FILE]
    source = sample or next((p for p in near if p.is_file()), None)
    if source is not None:
        ids = read_patch_csv(source, {"id": ("id",)})["id"].tolist()
    else:
        source = folder / "test" if (folder / "test").is_dir() else folder
        names = iter_images(source, Listing(), recursive=True)
        ids = sorted(strip_suffix(name) for name in names)
    counts = Counter(ids)
    if not ids or "" in counts:
        raise CohortError(
            f"{source}: a submission needs the ids of the test patches, and "
            + ("there are none" if not ids else f"{counts['']:,} are empty")
        )
    if twice := [name for name, n in counts.items() if n > 1]:
        raise CohortError(
            f"{source}: {len(twice):,} ids stand there more than once "
            f"({say_examples(twice)})"
        )
    return SubmissionPlan(path, tuple(ids), source)


def write_submission(
    plan: SubmissionPlan, ids: Sequence[str], probabilities: npt.NDArray[Any]
) -> None:
    """Write `id,label` with the probability of the positive class, `(ids,)`.

    Nothing is written where the ids, in any order, are not those of the plan.
    """
    plan.require(ids)
    values = pd.Series(np.asarray(probabilities, np.float64), index=list(ids))
    table = pd.DataFrame({"id": plan.ids, "label": values.loc[list(plan.ids)].array})
    write_csv(plan.path, table, is_exact=True)
