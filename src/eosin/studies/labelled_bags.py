"""Labelled bags: features or encoded tiles of slides, with their slides' labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
from eosin.cohorts import (
    Cohort,
    find_divided,
    read_cohort,
    require_labels,
)
from eosin.core import CohortError, ConfigError, ManifestError, Progress, to_file_name
from eosin.runs.card import Sees
from eosin.runs.origin import caution_learnt, require_alike, see_features
from eosin.settings import BagTraining
from eosin.studies.tile_encoder import list_readable
from eosin.tiles import TileFolder

_SHOWN = 5
_NO_TILES, _NO_LABEL = "slides without a tile", "slides without a label"


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledBags:
    """Bags with labels and patients.

    Attributes:
        bags: Slides, or patients with all slides joined.
        table: One row per slide of the bags, with `patient_id` and `label`.
        class_names: Of the labels, the negative class first.
        cautions: What was left out, and of whom the features know too much.
        sees: What feature files say that they were made from.
    """

    bags: Sequence[Bag]
    table: pd.DataFrame
    class_names: tuple[str, ...]
    cautions: tuple[str, ...]
    sees: Sees = field(default_factory=Sees)


def read_labelled(features: Path, cohort: Path, settings: BagTraining) -> LabelledBags:
    """Read feature files and their slide table; the slides may be elsewhere."""
    classes = settings.classes
    if not classes:
        raise ConfigError(
            f"{cohort}: the setting classes must name those of the column 'label', the "
            "negative one first, and is empty; give --classes normal tumor, or "
            "BagTraining(classes=('normal', 'tumor')) in Python"
        )
    slides = read_cohort(
        cohort, class_names=classes, class_option="--classes", needs_files=False
    )
    files = find_feature_files(features)
    cautions = list(slides.cautions)
    is_skipping = settings.missing == "skip"
    choose = _skip_what_lacks if is_skipping else _require_labels
    table = choose(slides, set(files), classes, cautions)
    if table.empty:
        raise CohortError(f"{cohort}: no slide with a label has features in {features}")
    table = _name_classes(table, classes, str(cohort))
    bags = read_bags(
        features,
        table,
        classes,
        per=settings.unit,
        columns=settings.columns,
        allow_extra=is_skipping,
    )
    seen = {
        str(name): see_features(files[to_file_name(str(name))])
        for name in table["slide_id"]
    }
    cautions += require_alike(seen, where=str(features))
    cautions += caution_learnt(features, table)
    return LabelledBags(
        bags=bags,
        table=table,
        class_names=classes,
        cautions=tuple(filter(None, cautions)),
        sees=max(seen.values(), key=lambda sees: sees.encoder is not None),
    )


def _skip_what_lacks(
    slides: Cohort, files: set[str], classes: Sequence[str], cautions: list[str]
) -> pd.DataFrame:
    """Choose the slides with a label and features."""
    require_labels(slides, slides.table[:0], classes, remedy="")
    names = _name_files(slides.table)
    is_bare = ~names.isin(files)
    table = _leave_out(slides.table, is_bare, "slides without features", cautions)
    table = _leave_out(table, table["label"].isna(), _NO_LABEL, cautions)
    others = sorted(files - set(names))
    cautions.append(_say_left_out(others, "feature files of no slide in the table"))
    return table


def _require_labels(
    slides: Cohort, files: set[str], classes: Sequence[str], cautions: list[str]
) -> pd.DataFrame:
    """Choose all slides; glass without tissue says nothing of the rest."""
    table, is_bare = slides.table, ~_name_files(slides.table).isin(files)
    remedy = "label them, or leave them out by --set missing=skip"
    require_labels(slides, table[~is_bare], classes, remedy=remedy)
    if "n_tiles" not in table:
        return table
    is_glass = is_bare & (table["n_tiles"].astype(str) == "0")
    return _leave_out(table, is_glass, _NO_TILES, cautions)


def _name_files(table: pd.DataFrame) -> pd.Series:
    return table["slide_id"].astype(str).map(to_file_name)


def label_encoded(
    folder: TileFolder,
    features: npt.NDArray[np.float32],
    settings: BagTraining,
    class_names: Sequence[str] = (),
) -> LabelledBags:
    """Make bags of a tile folder's slides, with the labels of its slide table.

    `features` are `(rows of the tile table, dimension)`. The classes are those of a
    model, or of the settings, or those of the tiles.
    """
    classes = tuple(class_names or settings.classes or folder.info.class_names)
    cautions = list(folder.info.cautions)
    readable = list_readable(folder)
    tiles = folder.tiles.iloc[readable]
    rows_of = {
        str(name): readable[places]
        for name, places in tiles.groupby("slide_id").indices.items()
    }
    is_empty = ~folder.slides["slide_id"].isin(set(rows_of))
    table = _leave_out(folder.slides, is_empty, _NO_TILES, cautions)
    table = _choose_labelled(table, classes, settings, str(folder.path), cautions)
    clinical = read_clinical(table, settings.columns) if settings.columns else {}
    coords = folder.tiles[["x_px0", "y_px0"]].to_numpy(np.int64)
    bags = [
        Bag(
            bag_id=slide_id,
            features=DrawnFeatures(features, rows_of[slide_id]),
            coords=coords[rows_of[slide_id]],
            label=classes.index(label),
            patient_id=patient_id,
            slide_ids=(slide_id,),
            clinical=clinical.get(patient_id),
        )
        for slide_id, patient_id, label in table[["slide_id", "patient_id", "label"]]
        .astype(str)
        .itertuples(index=False)
    ]
    return LabelledBags(
        bags=join_patients(bags) if settings.unit == "patient" else bags,
        table=table,
        class_names=classes,
        cautions=tuple(cautions),
    )


def _choose_labelled(
    table: pd.DataFrame,
    classes: Sequence[str],
    settings: BagTraining,
    where: str,
    cautions: list[str],
) -> pd.DataFrame:
    """Choose the slides with a label; a patient who is a bag has one label."""
    bare = table.loc[table["label"].isna(), "slide_id"].astype(str)
    if len(bare) and settings.missing == "stop":
        raise CohortError(
            f"{where}: every slide needs a label in the slide table that was tiled, "
            f"{len(bare)} have none ({', '.join(bare[:_SHOWN])}); label them, or leave "
            "them out by --set missing=skip"
        )
    table = _leave_out(table, table["label"].isna(), _NO_LABEL, cautions)
    table = _name_classes(table, classes, where)
    divided = find_divided(table, "patient_id", "label")
    if settings.unit == "patient" and divided:
        raise CohortError(
            f"{where}: the slides of {len(divided)} patients contradict each other, "
            f"such as {', '.join(divided[:_SHOWN])}; where patients are bags, all "
            "slides of one need the same label"
        )
    return table


def _leave_out(
    table: pd.DataFrame, is_out: pd.Series, what: str, cautions: list[str]
) -> pd.DataFrame:
    """Leave slides out, and say so among the cautions."""
    if is_out.any():
        cautions.append(_say_left_out(table.loc[is_out, "slide_id"], what))
    return table[~is_out].reset_index(drop=True)


def _say_left_out(names: Iterable[object], what: str) -> str:
    """Say how many things were left out; an empty text where none was."""
    texts = list(map(str, names))
    shown = ", ".join(texts[:_SHOWN])
    return f"{len(texts)} {what} were left out, such as {shown}." if texts else ""


def _name_classes(
    table: pd.DataFrame, classes: Sequence[str], where: str
) -> pd.DataFrame:
    """Write labels as the classes are written, whatever their case."""
    names = {name.lower(): name for name in classes}
    labels = [names.get(str(label).lower(), label) for label in table["label"]]
    if absent := [name for name in classes if name not in labels]:
        raise CohortError(
            f"{where}: no slide has the label {', '.join(map(repr, absent))} that "
            "the setting classes (--classes) names; the column 'label' holds "
            f"{', '.join(sorted(set(map(str, labels))))}"
        )
    if unknown := sorted(set(map(str, labels)) - set(classes)):
        raise CohortError(
            f"{where}: the column 'label' holds {', '.join(unknown)}, which is none of "
            f"the classes {', '.join(classes)}; name all in the setting classes "
            "(--classes)"
        )
    return table.assign(label=labels)


def check_features(bags: Sequence[Bag], progress: Progress) -> tuple[str, ...]:
    """Read every feature once, before hours are spent on them.

    Memory is bounded by a block of a bag. Stops where features are not finite, or all
    are constant; gives cautions about those that say nothing.
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
