"""Columns of the slide table that a model takes beside a bag: age, sex, grade.

Whether a column holds numbers or categories is the same for a whole study. How numbers
are scaled, what stands in for a missing one, and which categories are known comes from
the training patients alone, and is stored with the model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ManifestError, suggest

ColumnKind = Literal["number", "category"]
ClinicalValues = Mapping[str, str | None]
"""A patient's value of each column as the table has it; None where it has none."""

# What tables write where they know nothing, in lower case.
_MISSING = frozenset(("", "na", "n/a", "nan", "none", "null", "unknown", "?", "-", "."))
# A column of more texts than this is a name or a note, not a category.
_MAX_LEVELS = 20
_SHOWN = 3
# These say what is to be learnt, or who it is.
_NOT_CLINICAL = ("label", "slide_id", "patient_id", "path", "annotation", "split")


@dataclass(frozen=True, kw_only=True)
class ClinicalColumn:
    """How one column becomes numbers.

    Attributes:
        name: Of the column in the slide table.
        kind: Whether it holds numbers or categories.
        mean: Of the training patients' numbers, missing ones filled in.
        deviation: Likewise; 1 where they are all the same.
        median: Of the training patients' numbers; stands in for a missing one.
        levels: The training patients' categories, in lower case, sorted.
    """

    name: str
    kind: ColumnKind
    mean: float = 0.0
    deviation: float = 1.0
    median: float = 0.0
    levels: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers that it becomes."""
        return 2 if self.kind == "number" else len(self.levels) + 1

    def encode(self, value: str | None, *, owner: str) -> list[float]:
        """Encode one value of an owner, who is named where it is no finite number.

        A number becomes its distance from the mean in deviations, and whether it was
        missing (0 or 1). A category becomes a 1 at its level; one that is missing, or
        that no training patient had, a 1 behind the last level.
        """
        if self.kind == "category":
            level = _tidy(value)
            place = self.levels.index(level) if level in self.levels else -1
            found = [0.0] * self.width
            found[place] = 1.0
            return found
        if _tidy(value) is None:
            return [(self.median - self.mean) / self.deviation, 1.0]
        number = _parse(value)
        if number is None:
            raise ManifestError(
                f"{owner}: {self.name} must be a number, as it was for all training "
                f"patients, got '{value}'; leave it empty where it is not known"
            )
        return [(number - self.mean) / self.deviation, 0.0]


@dataclass(frozen=True)
class ClinicalEncoding:
    """How all columns that a model takes become one vector.

    Attributes:
        columns: One or more.
    """

    columns: tuple[ClinicalColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Length of the vector."""
        return sum(column.width for column in self.columns)

    def encode(self, values: ClinicalValues, *, owner: str) -> npt.NDArray[np.float32]:
        """Encode one patient's values, `(width,)`; a column that they lack is missing.

        Raises:
            ManifestError: A number is none, or not finite.
        """
        parts = [
            part
            for column in self.columns
            for part in column.encode(values.get(column.name), owner=owner)
        ]
        return np.array(parts, np.float32)

    def to_config(self) -> list[dict[str, Any]]:
        """Give plain values that `from_config` makes the same from."""
        return [
            asdict(column) | {"levels": list(column.levels)} for column in self.columns
        ]

    @classmethod
    def from_config(cls, config: Sequence[Mapping[str, Any]]) -> Self:
        """Make it from what `to_config` gave."""
        return cls(
            tuple(
                ClinicalColumn(**{**column, "levels": tuple(column["levels"])})
                for column in config
            )
        )


def read_clinical(
    table: pd.DataFrame, names: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """Take patients' values of some columns out of a slide table.

    A patient's slides need not all say it; those that do must agree.

    Returns:
        By patient, then by column; None for a missing value.

    Raises:
        ManifestError: A column is not there or no clinical one, or slides of a patient
            contradict each other. All that is wrong is named.
    """
    _check_names(table, names)
    found: dict[str, dict[str, str | None]] = {}
    problems = []
    for name in names:
        clashes = []
        for patient, own in table.groupby(table["patient_id"].astype(str), sort=False):
            texts = {_tidy(value): str(value).strip() for value in own[name]}
            texts.pop(None, None)
            if len(texts) > 1:
                clashes.append(f"{patient} ({' and '.join(sorted(texts.values()))})")
            value = next(iter(texts.values()), None)
            found.setdefault(str(patient), {})[name] = value
        if clashes:
            problems.append(
                f"slides of {len(clashes)} patient(s) contradict each other in "
                f"'{name}', such as {', '.join(clashes[:_SHOWN])}"
            )
    if problems:
        raise ManifestError(
            f"{'; '.join(problems)}; a patient has one value in each column"
        )
    return found


def find_kinds(
    values: Mapping[str, ClinicalValues], names: Sequence[str]
) -> dict[str, ColumnKind]:
    """Find whether columns hold numbers (all that is there are some) or categories.

    Args:
        values: Of all patients of a study, from `read_clinical`.
        names: The columns.

    Raises:
        ManifestError: A column is empty, holds infinite numbers, or so many texts that
            they are no categories.
    """
    kinds: dict[str, ColumnKind] = {}
    for name in names:
        given = [v for own in values.values() if (v := own.get(name)) is not None]
        if not given:
            raise ManifestError(
                f"the column '{name}' is empty for all {len(values)} patients; leave "
                "it out"
            )
        texts = [value for value in given if _parse(value) is None]
        kinds[name] = "category" if texts else "number"
        n_levels = len({_tidy(value) for value in given})
        if texts and n_levels > _MAX_LEVELS:
            raise ManifestError(
                f"the column '{name}' must hold numbers, or at most {_MAX_LEVELS} "
                f"categories; it holds {n_levels} texts, {len(texts)} of which are no "
                f"finite numbers, such as {', '.join(texts[:_SHOWN])}"
            )
    return kinds


def fit_clinical(
    values: Sequence[ClinicalValues], kinds: Mapping[str, ColumnKind]
) -> ClinicalEncoding:
    """Learn how to encode columns, of these kinds, from the training patients alone."""
    columns = []
    for name, kind in kinds.items():
        given = [patient.get(name) for patient in values]
        if kind == "number":
            columns.append(_fit_numbers(name, given))
        else:
            levels = sorted({t for v in given if (t := _tidy(v)) is not None})
            columns.append(ClinicalColumn(name=name, kind=kind, levels=tuple(levels)))
    return ClinicalEncoding(tuple(columns))


def _fit_numbers(name: str, values: Sequence[str | None]) -> ClinicalColumn:
    numbers = [_parse(value) for value in values]
    known = [number for number in numbers if number is not None]
    median = float(np.median(known)) if known else 0.0
    filled = np.array([median if n is None else n for n in numbers], np.float64)
    mean, deviation = float(filled.mean()), float(filled.std())
    if deviation <= 1e-9 * max(1.0, abs(mean)):
        deviation = 1.0
    return ClinicalColumn(
        name=name, kind="number", mean=mean, deviation=deviation, median=median
    )


def _check_names(table: pd.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in table.columns]:
        # A slide table that was read has columns that its file had not.
        others = [
            str(name)
            for name in table.columns
            if name not in _NOT_CLINICAL and table[name].notna().any()
        ]
        raise ManifestError(
            f"the slide table has no column {', '.join(missing)}; it has "
            f"{', '.join(others) or 'no further ones'}{suggest(missing[0], others)}"
        )
    if wrong := [name for name in names if name in _NOT_CLINICAL]:
        raise ManifestError(
            f"{', '.join(wrong)} can be no clinical column: it names a slide or says "
            "what is to be learnt"
        )
    if len(set(names)) < len(names):
        raise ManifestError(f"a clinical column is named twice: {', '.join(names)}")


def _tidy(value: object) -> str | None:
    """Bring a text to lower case without blanks around; None where it says nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip().lower()
    return None if text in _MISSING else text


def _parse(value: object) -> float | None:
    """Read a finite number; None where it is none."""
    text = _tidy(value)
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
