"""Columns of the slide table that a model takes beside a bag: age, sex, grade.

Whether a column holds numbers or categories is the same for a whole study. How numbers
are scaled, what stands in for a missing one, and which categories are known comes from
the training patients alone, and is stored with the model.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags.clinical_texts import (
    fold_category,
    is_almost_number,
    parse_number,
    tidy_value,
)
from eosin.cohorts import is_missing
from eosin.core import ManifestError, suggest

ColumnKind = Literal["number", "category"]
ClinicalValues = Mapping[str, str | None]
"""A patient's value of each column as the table has it; None where it has none."""

# A column of more texts than this is a name or a note, not a category.
_MAX_LEVELS = 20
_SHOWN = 3
# Numbers by which tables say that they know nothing.
_CODES = frozenset({-1, -9, -99, -999, -9999, 99, 999, 9999, 99999})
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
            # Another table may write the same level otherwise.
            folded = [fold_category(level) for level in self.levels]
            level = fold_category(value)
            found = [0.0] * self.width
            found[folded.index(level) if level in folded else -1] = 1.0
            return found
        if tidy_value(value) is None:
            return [(self.median - self.mean) / self.deviation, 1.0]
        number = parse_number(value)
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
            texts = {tidy_value(value): str(value).strip() for value in own[name]}
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
            they are no categories; it holds texts among numbers; or one category is
            written in two ways.
    """
    kinds: dict[str, ColumnKind] = {}
    for name in names:
        given = {p: v for p, own in values.items() if (v := own.get(name)) is not None}
        if not given:
            raise ManifestError(
                f"the column '{name}' is empty for all {len(values)} patients; leave "
                "it out"
            )
        texts = {p: v for p, v in given.items() if parse_number(v) is None}
        kinds[name] = "category" if texts else "number"
        if not texts:
            continue
        n_texts, n_levels = (
            len(set(map(tidy_value, own.values()))) for own in (texts, given)
        )
        is_mixed = len(texts) < len(given)
        if is_mixed and (
            n_levels > 2 * n_texts or any(map(is_almost_number, texts.values()))
        ):
            raise ManifestError(
                f"the column '{name}' holds numbers and, for {len(texts)} of "
                f"{len(given)} patients, texts: {_show(texts)}; write a number there, "
                "or leave the cell empty where it is not known; where it is to hold "
                "categories, write texts in all cells"
            )
        if n_levels > _MAX_LEVELS:
            raise ManifestError(
                f"the column '{name}' must hold numbers, or at most {_MAX_LEVELS} "
                f"categories; it holds {n_levels} texts, {len(texts)} of which are no "
                f"finite numbers, such as {', '.join([*texts.values()][:_SHOWN])}"
            )
        _require_one_spelling(name, given)
    return kinds


def _require_one_spelling(name: str, given: Mapping[str, str]) -> None:
    """Stop where a column of categories writes one of them in several ways."""
    spellings: dict[str | None, dict[str | None, str]] = defaultdict(dict)
    for value in given.values():
        spellings[fold_category(value)].setdefault(tidy_value(value), value)
    if several := [own for own in spellings.values() if len(own) > 1]:
        shown = ", ".join(" and ".join(map(repr, own.values())) for own in several)
        raise ManifestError(
            f"the column '{name}' writes one category in several ways: {shown}; write "
            "each in one way"
        )


def caution_clinical(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """Say what some columns of a slide table were taken for.

    Which texts count as missing, and which look like numbers and make categories.
    """
    return tuple(text for name in names for text in _caution_column(table, name))


def caution_unknown(
    encodings: Sequence[ClinicalEncoding], table: pd.DataFrame
) -> tuple[str, ...]:
    """Say which categories of a slide table none of some encodings has learnt."""
    cautions = []
    for name in dict.fromkeys(name for own in encodings for name in own.names):
        columns = [c for own in encodings for c in own.columns if c.name == name]
        if columns[0].kind == "number":
            continue
        levels = {fold_category(level) for column in columns for level in column.levels}
        pairs = zip(table["slide_id"].astype(str), table[name], strict=True)
        unknown = {
            s: str(v) for s, v in pairs if fold_category(v) not in {*levels, None}
        }
        if unknown:
            cautions.append(
                f"No training patient had what the column '{name}' says of "
                f"{len(unknown)} slides, which counts as missing: {_show(unknown)}."
            )
    return tuple(cautions)


def _caution_column(table: pd.DataFrame, name: str) -> Iterator[str]:
    texts = {
        str(slide_id): str(value).strip()
        for slide_id, value in zip(table["slide_id"], table[name], strict=True)
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }
    texts = {slide_id: text for slide_id, text in texts.items() if text}
    if unknown := {s: text for s, text in texts.items() if is_missing(text)}:
        yield (
            f"The column '{name}' says nothing for {len(unknown)} slides, which counts "
            f"as missing: {_show(unknown)}."
        )
    known = {s: text for s, text in texts.items() if s not in unknown}
    if codes := _find_codes(known):
        yield (
            f"The column '{name}' holds {_show(codes)}, far from its other numbers; "
            "where that means that nothing is known, leave the cell empty."
        )
    odd = {s: text for s, text in known.items() if is_almost_number(text)}
    if all(parse_number(text) is not None for text in known.values()):
        return
    if odd := odd or {
        s: text for s, text in known.items() if parse_number(text) is not None
    }:
        yield (
            f"The column '{name}' counts as categories, for the texts in it, although "
            f"some are nearly numbers: {_show(odd)}. If it is to hold numbers, write "
            "these alone."
        )


def _find_codes(texts: Mapping[str, str]) -> dict[str, str]:
    """Find numbers that may stand for a missing one: 999, or -9 among positive ones."""
    numbers = {
        s: number for s, t in texts.items() if (number := parse_number(t)) is not None
    }
    others = [number for number in numbers.values() if number not in _CODES]
    if len(numbers) < len(texts) or not others:
        return {}
    least, most = min(others), max(others)
    return {
        s: texts[s]
        for s, number in numbers.items()
        if number in _CODES and (number < 0 <= least or number > 3 * most)
    }


def _show(texts: Mapping[str, str]) -> str:
    """Show the first texts, each with one whose it is."""
    owners: dict[str, str] = {}
    for owner, text in texts.items():
        owners.setdefault(text, owner)
    shown = [f"'{text}' ({owner})" for text, owner in owners.items()]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


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
            levels = sorted({t for v in given if (t := tidy_value(v)) is not None})
            columns.append(ClinicalColumn(name=name, kind=kind, levels=tuple(levels)))
    return ClinicalEncoding(tuple(columns))


def _fit_numbers(name: str, values: Sequence[str | None]) -> ClinicalColumn:
    numbers = [parse_number(value) for value in values]
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
