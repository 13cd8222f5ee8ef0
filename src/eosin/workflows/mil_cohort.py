"""The bags of a MIL study with their labels and columns, checked before training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import (
    Bag,
    ClinicalValues,
    ColumnKind,
    find_feature_files,
    find_kinds,
    read_bags,
    read_clinical,
)
from eosin.cohorts import (
    fold_patients,
    read_cohort,
    require_labels,
    say_unknown_patients,
)
from eosin.core import CohortError, ManifestError, Progress, to_file_name
from eosin.workflows.encoder_patients import caution_learnt

if TYPE_CHECKING:
    from eosin.workflows.train_mil import MILStudyConfig

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class MILCohort:
    """What a MIL study learns from.

    Attributes:
        bags: With labels, patients and clinical values.
        table: One row per slide of the bags, with `patient_id` and `label`.
        class_names: Of the labels, the negative class first.
        kinds: Of each clinical column, whether it holds numbers or categories.
        cautions: What was left out, and of whom the features know too much, as
            sentences.
    """

    bags: Sequence[Bag]
    table: pd.DataFrame
    class_names: tuple[str, ...]
    kinds: Mapping[str, ColumnKind]
    cautions: tuple[str, ...] = ()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Of the bags."""
        return np.array([bag.label for bag in self.bags], np.int64)

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """Of the bags."""
        return np.array([str(bag.patient_id) for bag in self.bags])

    def spread(self, split: pd.Series) -> npt.NDArray[np.str_]:
        """Turn the split of slides into that of bags.

        Args:
            split: Of rows of `table` by their index, one for each patient; patients
                that are not in it get an empty text.
        """
        owners = self.table.loc[split.index, "patient_id"].astype(str)
        own = dict(zip(owners, split.astype(str), strict=True))
        return np.array([own.get(patient, "") for patient in self.patients])

    def list_clinical(self, rows: npt.NDArray[np.int64]) -> list[ClinicalValues]:
        """List the clinical values of the patients of some bags, each once."""
        found = {self.patients[row]: self.bags[row].clinical or {} for row in rows}
        return list(found.values())


def read_mil_cohort(
    features: Path, cohort: Path, config: "MILStudyConfig"
) -> MILCohort:
    """Read features, labels and clinical columns; the slides may be elsewhere.

    Raises:
        CohortError: The slide table is wrong, or slides have no label.
        ManifestError: Features, slides and columns do not fit together.
    """
    classes = config.classes
    slides = read_cohort(
        cohort, class_names=classes, class_option="--class", needs_files=False
    )
    table = slides.table
    files = find_feature_files(features)
    has_features = table["slide_id"].map(lambda name: to_file_name(str(name)) in files)
    is_skipping = config.missing == "skip"
    cautions = list(filter(None, [say_unknown_patients(slides)]))
    if is_skipping:
        cautions += _say_skipped(table, has_features, set(files))
        require_labels(slides, table[:0], classes, remedy="")
        table = table[has_features & table["label"].notna()].reset_index(drop=True)
        if table.empty:
            raise CohortError(
                f"{cohort}: no slide with a label has features in {features}"
            )
    else:
        bare = ~has_features & _have_no_tiles(table)
        if bare.any():
            # Glass without tissue says nothing of the rest.
            empty = table.loc[bare, "slide_id"].astype(str)
            cautions.append(
                f"{len(empty)} slides without a tile were left out, such as "
                f"{', '.join(empty.iloc[:_SHOWN])}."
            )
            table = table[~bare].reset_index(drop=True)
            has_features = has_features[~bare].reset_index(drop=True)
        remedy = "label them, or leave them out by --set missing=skip"
        require_labels(slides, table[has_features], classes, remedy=remedy)
    names = {name.lower(): name for name in classes}
    labels = [names.get(str(label).lower(), label) for label in table["label"]]
    table = table.assign(label=labels)
    if absent := [name for name in classes if name not in labels]:
        raise CohortError(
            f"{cohort}: no slide has the label {', '.join(map(repr, absent))} that "
            "--class asks for; the column 'label' holds "
            f"{', '.join(sorted(set(labels)))}"
        )
    bags = read_bags(
        features,
        table,
        classes,
        per=config.per,
        columns=config.columns,
        allow_extra=is_skipping,
    )
    kinds: Mapping[str, ColumnKind] = {}
    if config.columns:
        try:
            kinds = find_kinds(read_clinical(table, config.columns), config.columns)
        except ManifestError as error:
            raise ManifestError(f"{cohort}: {error}") from error
    cautions += caution_learnt(features, table)
    return MILCohort(bags, table, classes, kinds, tuple(cautions))


def divide_patients(
    cohort: MILCohort, config: "MILStudyConfig"
) -> list[npt.NDArray[np.str_]]:
    """Make folds by patient; of each the split of every bag.

    Raises:
        CohortError: A class has fewer patients than there are folds.
    """
    folds = fold_patients(
        cohort.table,
        n_folds=config.folds,
        val_fraction=config.val_fraction,
        negative=config.classes[0],
        seed=config.seed,
    )
    return [cohort.spread(split) for split in folds]


def check_features(bags: Sequence[Bag], progress: Progress) -> tuple[str, ...]:
    """Read every feature once, before hours are spent on them.

    Memory is bounded by a block of a bag.

    Returns:
        Cautions about features that say nothing, as sentences.

    Raises:
        ManifestError: Features are not finite, or all are constant.
    """
    lowest = np.full(bags[0].n_features, np.inf)
    highest = -lowest
    problems: list[str] = []
    with progress.task("Checking features", len(bags)) as task:
        for bag in bags:
            try:
                for block in bag.list_blocks():
                    part = bag.read(block)
                    np.minimum(lowest, part.min(axis=0), out=lowest)
                    np.maximum(highest, part.max(axis=0), out=highest)
            except ManifestError as error:
                problems.append(str(error))
            task.advance()
    if problems:
        shown = "".join(f"\n  - {text}" for text in problems[:_SHOWN])
        raise ManifestError(
            f"the features of {len(problems)} of {len(bags)} bags cannot be learnt "
            f"from:{shown}"
        )
    n_constant = int((lowest == highest).sum())
    if n_constant == len(lowest):
        raise ManifestError(
            f"all {n_constant} features are the same in every instance of all "
            f"{len(bags)} bags, so that nothing can be learnt; embed the tiles anew"
        )
    if not n_constant:
        return ()
    return (
        f"{n_constant} of {len(lowest)} features are the same in every instance and "
        "say nothing.",
    )


def _have_no_tiles(table: pd.DataFrame) -> pd.Series:
    """Find the slides of which `eosin tile` says in its table that they gave none."""
    if "n_tiles" not in table:
        return pd.Series(False, index=table.index)  # noqa: FBT003 - a value
    return table["n_tiles"].astype(str) == "0"


def _say_skipped(
    table: pd.DataFrame, has_features: pd.Series, files: set[str]
) -> list[str]:
    """Say what is left out where that was asked for."""
    known = {to_file_name(str(name)) for name in table["slide_id"]}
    has_label = table["label"].notna()
    left_out = (
        ("slides without features", table.loc[~has_features, "slide_id"]),
        ("slides without a label", table.loc[has_features & ~has_label, "slide_id"]),
        ("feature files of no slide in the table", sorted(files - known)),
    )
    return [
        f"{len(names)} {what} were left out, such as "
        f"{', '.join(map(str, list(names)[:_SHOWN]))}."
        for what, names in left_out
        if len(names)
    ]
