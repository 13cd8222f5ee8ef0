"""Bags from folders of feature files: of slides, of patients, and drawn ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags.bag import Bag, check_bags, compare_dimensions
from eosin.bags.clinical import read_clinical
from eosin.bags.dialects import find_feature_files, open_features
from eosin.bags.joined_features import DrawnFeatures, JoinedFeatures
from eosin.core import ManifestError, to_file_name

_SHOWN = 10


def read_slide_bag(
    path: Path, *, slide_mpp: float | None = None, encoder: str | None = None
) -> Bag:
    """Open one slide's features, left in the file, as a bag without a label.

    Raises:
        ManifestError: As for `open_features`, or there is no instance.
    """
    found = open_features(Path(path), slide_mpp=slide_mpp, encoder=encoder)
    name = Path(path).stem
    return Bag(
        bag_id=name, features=found.features, coords=found.coords, slide_ids=(name,)
    )


def read_bags(
    folder: Path,
    cohort: pd.DataFrame,
    class_names: Sequence[str],
    *,
    per: Literal["slide", "patient"] = "slide",
    encoder: str | None = None,
    columns: Sequence[str] = (),
    allow_extra: bool = False,
) -> list[Bag]:
    """Read the labelled bags of a cohort.

    Args:
        folder: Holds the feature files.
        cohort: `slide_id`, `patient_id`, `label` and, for STAMP's files, `mpp`.
        class_names: Class of each label; label 0 is the negative class.
        per: `slide`, or `patient`, which joins the slides of each.
        encoder: Which features, where there are those of several encoders.
        columns: Clinical columns of `cohort` that go with the bags.
        allow_extra: Whether there may be features of slides that are not in the
            table; they are not read.

    Raises:
        ManifestError: A slide has no features, features have no slide, a file is
            damaged, a label is unknown, a patient's slides contradict each other
            (with `patient`), or the files differ in their dimension. All that is
            wrong is named.
    """
    files = find_feature_files(folder, encoder=encoder)
    problems = _find_problems(files, cohort, class_names, per, allow_extra=allow_extra)
    clinical = read_clinical(cohort, columns) if columns else {}
    number = {name.lower(): index for index, name in enumerate(class_names)}
    bags = []
    for row in cohort.to_dict("records"):
        slide_id, patient_id = str(row["slide_id"]), str(row["patient_id"])
        path = files.get(to_file_name(slide_id))
        label = number.get(str(row["label"]).lower())
        if path is None or label is None:
            continue
        try:
            found = open_features(path, slide_mpp=_find_mpp(row), encoder=encoder)
            bags.append(
                Bag(
                    bag_id=slide_id,
                    features=found.features,
                    coords=found.coords,
                    label=label,
                    patient_id=patient_id,
                    slide_ids=(slide_id,),
                    clinical=clinical.get(patient_id),
                )
            )
        except ManifestError as error:
            problems.append(str(error))
    problems += compare_dimensions(bags) + _find_whole_slides(bags)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ManifestError(f"{folder}: {len(problems)} problem(s):\n{lines}")
    check_bags(bags)
    return join_patients(bags) if per == "patient" else bags


def join_patients(bags: Sequence[Bag]) -> list[Bag]:
    """Join the bags of each patient into one, in order of first appearance.

    The features stay where they are. Coordinates are of several slides then, and
    left out.
    """
    by_patient: dict[str, list[Bag]] = {}
    for bag in bags:
        by_patient.setdefault(str(bag.patient_id), []).append(bag)
    return [
        replace(own[0], bag_id=patient_id)
        if len(own) == 1
        else Bag(
            bag_id=patient_id,
            features=JoinedFeatures([bag.features for bag in own]),
            label=own[0].label,
            patient_id=patient_id,
            slide_ids=tuple(name for bag in own for name in bag.slide_ids),
            clinical=own[0].clinical,
        )
        for patient_id, own in by_patient.items()
    ]


def share_drawn(
    table: pd.DataFrame, tile_ids: Sequence[str], values: npt.NDArray[Any]
) -> list[Bag]:
    """Make the bags of a bag table, which share what is known of their tiles.

    Args:
        table: Rows of `read_bag_table`, whole bags.
        tile_ids: Every tile that is drawn, once.
        values: `(tiles, numbers)` of these tiles, such as features or pixels.
    """
    place = pd.Series(np.arange(len(tile_ids)), index=list(tile_ids))
    rows = place.loc[table["tile_id"]].to_numpy(np.int64)
    bags = []
    for bag_id, own in table.groupby("bag_id", sort=False).indices.items():
        part = table.iloc[own]
        bags.append(
            Bag(
                bag_id=str(bag_id),
                features=DrawnFeatures(values, rows[own]),
                label=int(part["label"].iloc[0]),
                coords=part[["x_px0", "y_px0"]].to_numpy(np.int64),
                instance_labels=part["is_witness"].to_numpy(np.int64),
                slide_ids=tuple(part["slide_id"].unique()),
            )
        )
    return bags


def _find_mpp(row: Mapping[Any, Any]) -> float | None:
    mpp = row.get("mpp")
    return None if mpp is None or pd.isna(mpp) else float(mpp)


def _find_problems(
    files: Mapping[str, Path],
    cohort: pd.DataFrame,
    class_names: Sequence[str],
    per: str,
    *,
    allow_extra: bool,
) -> list[str]:
    """Say everything that keeps files and table from fitting together."""
    slides = {to_file_name(name): name for name in cohort["slide_id"].astype(str)}
    without = [slide_id for name, slide_id in slides.items() if name not in files]
    extra = [files[name].name for name in sorted(set(files) - set(slides))]
    problems = []
    if without:
        problems.append(
            f"{len(without)} of {len(slides)} slides have no features, such as "
            f"{', '.join(without[:_SHOWN])}; embed them, or take them out of the table "
            "(or let training leave them out by --set missing=skip)"
        )
    if extra and not allow_extra:
        problems.append(
            f"{len(extra)} of {len(files)} feature files belong to no slide of the "
            f"table, such as {', '.join(extra[:_SHOWN])}; add their slides to the table"
        )
    labels = cohort["label"].astype(str).str.lower()
    unknown = cohort[~labels.isin([name.lower() for name in class_names])]
    problems += [
        f"slide {slide_id}: label must be one of {', '.join(class_names)}, got "
        f"'{label}'"
        for slide_id, label in zip(unknown["slide_id"], unknown["label"], strict=True)
    ]
    by_patient = labels.groupby(cohort["patient_id"].astype(str), sort=False).unique()
    divided = [
        f"{name} ({' and '.join(sorted(given))})"
        for name, given in by_patient.items()
        if len(given) > 1
    ]
    if per == "patient" and divided:
        problems.append(
            f"the slides of {len(divided)} of {len(by_patient)} patients contradict "
            f"each other, such as {', '.join(divided[:_SHOWN])}; where patients are "
            "bags, all slides of one need the same label"
        )
    return problems


def _find_whole_slides(bags: Sequence[Bag]) -> list[str]:
    """Say that files without places seem to hold a vector per slide, not per tile."""
    if len(bags) < 2 or any(len(bag) > 1 or bag.coords is not None for bag in bags):
        return []
    return [
        f"each of the {len(bags)} files holds one vector without a place, as of a "
        "whole slide, but bags are made of tiles' features; give the files of the tiles"
    ]
