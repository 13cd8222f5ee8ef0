"""Labelled bags: features or encoded tiles of slides, with their slides' labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import (
    Bag,
    DrawnFeatures,
    find_feature_files,
    join_patients,
    read_bags,
    read_clinical,
)
from eosin.cohorts import read_cohort, require_labels, say_unknown_patients
from eosin.core import CohortError, ConfigError, ManifestError, Progress, to_file_name
from eosin.runs.origin import caution_learnt
from eosin.settings import BagTraining
from eosin.tiles import DAMAGED, TileFolder

_SHOWN = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledBags:
    """Bags with labels and patients.

    Attributes:
        bags: Slides, or patients with all slides joined.
        table: One row per slide of the bags, with `patient_id` and `label`.
        class_names: Of the labels, the negative class first.
        cautions: What was left out, and of whom the features know too much.
    """

    bags: Sequence[Bag]
    table: pd.DataFrame
    class_names: tuple[str, ...]
    cautions: tuple[str, ...]


def read_labelled(features: Path, cohort: Path, settings: BagTraining) -> LabelledBags:
    """Read feature files and their slide table; the slides may be elsewhere.

    Raises:
        ConfigError: No classes are named.
        CohortError: The slide table is wrong, or slides have no label.
        ManifestError: Features, slides and columns do not fit together.
    """
    classes = settings.classes
    if not classes:
        raise ConfigError(
            "classes of the column 'label' are needed, the negative one first, such as "
            "--classes normal tumor"
        )
    slides = read_cohort(
        cohort, class_names=classes, class_option="--classes", needs_files=False
    )
    table = slides.table
    files = find_feature_files(features)
    has_features = table["slide_id"].map(lambda name: to_file_name(str(name)) in files)
    is_skipping = settings.missing == "skip"
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
    table = _name_classes(table, classes, str(cohort))
    bags = read_bags(
        features,
        table,
        classes,
        per=settings.unit,
        columns=settings.columns,
        allow_extra=is_skipping,
    )
    cautions += caution_learnt(features, table)
    return LabelledBags(
        bags=bags, table=table, class_names=classes, cautions=tuple(cautions)
    )


def label_encoded(
    folder: TileFolder, features: npt.NDArray[np.float32], settings: BagTraining
) -> LabelledBags:
    """Make bags of a tile folder's slides, with the labels of its slide table.

    Args:
        folder: The tiles.
        features: `(rows of the tile table, dimension)`.
        settings: How to train; without classes they are those of the tiles.

    Raises:
        CohortError: A slide has no label, or a class no slide.
    """
    classes = settings.classes or folder.info.class_names
    cautions = list(folder.info.cautions)
    slides = folder.slides
    is_damaged = folder.tiles["flags"].str.contains(DAMAGED).to_numpy(bool)
    slide_rows = {
        str(name): np.asarray(rows, np.int64)
        for name, rows in folder.tiles.groupby("slide_id").indices.items()
    }
    rows_of = {
        name: rows[~is_damaged[rows]]
        for name, rows in slide_rows.items()
        if not is_damaged[rows].all()
    }
    has_tiles = slides["slide_id"].isin(set(rows_of))
    if not has_tiles.all():
        empty = slides.loc[~has_tiles, "slide_id"].astype(str)
        cautions.append(
            f"{len(empty)} slides without a tile were left out, such as "
            f"{', '.join(empty.iloc[:_SHOWN])}."
        )
    table = slides[has_tiles].reset_index(drop=True)
    bare = table["label"].isna()
    if bare.any():
        names = ", ".join(table.loc[bare, "slide_id"].astype(str)[:_SHOWN])
        if settings.missing == "stop":
            raise CohortError(
                f"{folder.path}: every slide needs a label in the slide table that was "
                f"tiled, {int(bare.sum())} have none ({names}); label them, or leave "
                "them out by --set missing=skip"
            )
        cautions.append(
            f"{int(bare.sum())} slides without a label were left out, such as {names}."
        )
        table = table[~bare].reset_index(drop=True)
    table = _name_classes(table, classes, str(folder.path))
    number = {name: index for index, name in enumerate(classes)}
    clinical = read_clinical(table, settings.columns) if settings.columns else {}
    coords = folder.tiles[["x_px0", "y_px0"]].to_numpy(np.int64)
    bags = [
        Bag(
            bag_id=str(row["slide_id"]),
            features=DrawnFeatures(features, rows_of[row["slide_id"]]),
            coords=coords[rows_of[row["slide_id"]]],
            label=number[str(row["label"])],
            patient_id=str(row["patient_id"]),
            slide_ids=(str(row["slide_id"]),),
            clinical=clinical.get(str(row["patient_id"])),
        )
        for row in table.to_dict("records")
    ]
    if settings.unit == "patient":
        bags = join_patients(bags)
    return LabelledBags(
        bags=bags, table=table, class_names=classes, cautions=tuple(cautions)
    )


def _name_classes(
    table: pd.DataFrame, classes: Sequence[str], where: str
) -> pd.DataFrame:
    """Write labels as the classes are written, whatever their case."""
    names = {name.lower(): name for name in classes}
    labels = [names.get(str(label).lower(), label) for label in table["label"]]
    if absent := [name for name in classes if name not in labels]:
        raise CohortError(
            f"{where}: no slide has the label {', '.join(map(repr, absent))} that "
            "--classes asks for; the column 'label' holds "
            f"{', '.join(sorted(set(map(str, labels))))}"
        )
    if unknown := sorted(set(map(str, labels)) - set(classes)):
        raise CohortError(
            f"{where}: the column 'label' holds {', '.join(unknown)}, which is none of "
            f"the classes {', '.join(classes)}; name all by --classes"
        )
    return table.assign(label=labels)


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
