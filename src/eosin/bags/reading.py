"""Bags from folders of feature files: of slides, of patients, and drawn ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags.bag import Bag, FeatureArray, check_bags
from eosin.bags.clinical import read_clinical
from eosin.bags.dialects import SlideFeatures, find_feature_files, open_features
from eosin.core import ManifestError, to_file_name

# Of a patch data set, whose patches lie on no slide, all features are in one file.
_PATCHES_FILE = "patches"
_SHOWN = 10


class JoinedFeatures:
    """Features of several files, one after the other, left where they are.

    Stands for an array of shape `shape`.

    Args:
        parts: Of one dimension, each `(instances, features)`.
    """

    def __init__(self, parts: Sequence[FeatureArray]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(int(part.shape[0]) for part in parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), int(parts[0].shape[1]))
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """Read some rows: a slice, or numbers in any order."""
        wanted = np.arange(self.shape[0])[rows]
        out = np.empty((len(wanted), self.shape[1]), self.dtype)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for index in np.unique(owner):
            places = np.flatnonzero(owner == index)
            own = wanted[places] - self._starts[index]
            # HDF5 takes rising rows only.
            order = np.argsort(own, kind="stable")
            out[places[order]] = _read_rising(self._parts[index], own[order])
        return out


class DrawnFeatures:
    """Rows of a larger array, which many bags share.

    Args:
        features: `(tiles, features)`.
        rows: Which of them, in order.
    """

    def __init__(self, features: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
        self._features, self._rows = features, rows
        self.shape: tuple[int, ...] = (len(rows), features.shape[1])
        self.dtype = features.dtype

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """Read some rows: a slice, or numbers in any order."""
        return np.asarray(self._features[self._rows[rows]])


def read_slide_bag(
    path: Path, *, slide_mpp: float | None = None, encoder: str | None = None
) -> Bag:
    """Open one slide's features as a bag without a label.

    The features stay in the file and are read when they are used.

    Args:
        path: The file.
        slide_mpp: As for `open_features`.
        encoder: As for `open_features`.

    Raises:
        ManifestError: As for `open_features`, or there is no instance.
    """
    found = open_features(Path(path), slide_mpp=slide_mpp, encoder=encoder)
    slide_id = Path(path).stem
    return Bag(
        bag_id=slide_id,
        features=found.features,
        coords=found.coords,
        slide_ids=(slide_id,),
    )


def read_bags(
    folder: Path,
    cohort: pd.DataFrame,
    class_names: Sequence[str],
    *,
    per: Literal["slide", "patient"] = "slide",
    encoder: str | None = None,
    needs_coords: bool = False,
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
        needs_coords: Whether every file must say where its tiles lie, as maps of
            attention do.
        columns: Clinical columns of `cohort` that go with the bags.
        allow_extra: Whether there may be features of slides that are not in the
            table; they are not read.

    Raises:
        ManifestError: A slide has no features, features have no slide, a file is
            damaged, a label is unknown, a patient's slides contradict each other
            (with `patient`), coordinates are missing, or the files differ in their
            dimension. All that is wrong is named.
    """
    files = find_feature_files(folder, encoder=encoder)
    rows = cohort.to_dict("records")
    problems = _find_problems(files, rows, class_names, per, allow_extra=allow_extra)
    clinical = read_clinical(cohort, columns) if columns else {}
    number = {name.lower(): index for index, name in enumerate(class_names)}
    bags = []
    for row in rows:
        path = files.get(to_file_name(str(row["slide_id"])))
        label = number.get(str(row["label"]).lower())
        if path is None or label is None:
            continue
        slide_id = str(row["slide_id"])
        try:
            found = open_features(path, slide_mpp=_find_mpp(row), encoder=encoder)
            bag = Bag(
                bag_id=slide_id,
                features=found.features,
                coords=found.coords,
                label=label,
                patient_id=str(row["patient_id"]),
                slide_ids=(slide_id,),
                clinical=clinical.get(str(row["patient_id"])),
            )
        except ManifestError as error:
            problems.append(str(error))
            continue
        if needs_coords and bag.coords is None:
            problems.append(f"{path}: does not say where its tiles lie (coords)")
        bags.append(bag)
    problems += _compare_dimensions(bags) + _find_whole_slides(bags)
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


def read_drawn_bags(
    table: pd.DataFrame, folder: Path, *, encoder: str | None = None
) -> list[Bag]:
    """Read the bags of a bag table, or of some of its rows.

    The features of every tile that is drawn are read once and shared by all bags it
    is in.

    Args:
        table: Rows of `read_bag_table`, whole bags.
        folder: Features of the tiles that the bags were drawn from. Files that do
            not name their tiles (those of other tools) are searched by place.
        encoder: Which features, where there are those of several encoders.

    Returns:
        In the table's order; `instance_labels` is 1 at witnesses.

    Raises:
        ManifestError: A tile has no features, or the files differ in their dimension.
    """
    tiles = table.drop_duplicates("tile_id").reset_index(drop=True)
    features = _read_tiles(tiles, find_feature_files(folder, encoder=encoder), encoder)
    return share_drawn(table, tiles["tile_id"].tolist(), features)


def share_drawn(
    table: pd.DataFrame, tile_ids: Sequence[str], values: npt.NDArray[Any]
) -> list[Bag]:
    """Make the bags of a bag table, which share what is known of their tiles.

    Args:
        table: Rows of `read_bag_table`, whole bags.
        tile_ids: Every tile that is drawn, once.
        values: `(tiles, numbers)` of these tiles, such as features or pixels.

    Returns:
        In the table's order; `instance_labels` is 1 at witnesses.
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


def _read_rising(part: FeatureArray, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Read rows that rise but may repeat, which HDF5 refuses."""
    once, back = np.unique(rows, return_inverse=True)
    # A run of rows is read in one go.
    is_run = len(once) == once[-1] - once[0] + 1
    found = part[slice(int(once[0]), int(once[-1]) + 1) if is_run else once]
    return np.asarray(found)[back]


def _find_mpp(row: Mapping[Any, Any]) -> float | None:
    mpp = row.get("mpp")
    return None if mpp is None or pd.isna(mpp) else float(mpp)


def _find_problems(
    files: Mapping[str, Path],
    rows: Sequence[Mapping[Any, Any]],
    class_names: Sequence[str],
    per: str,
    *,
    allow_extra: bool,
) -> list[str]:
    """Say everything that keeps files and table from fitting together."""
    known = {name.lower() for name in class_names}
    slides = {to_file_name(str(row["slide_id"])): str(row["slide_id"]) for row in rows}
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
    said: dict[str, set[str]] = {}
    for row in rows:
        label = str(row["label"]).lower()
        if label not in known:
            problems.append(
                f"slide {row['slide_id']}: label must be one of "
                f"{', '.join(class_names)}, got '{row['label']}'"
            )
        said.setdefault(str(row["patient_id"]), set()).add(label)
    divided = [
        f"{name} ({' and '.join(sorted(labels))})"
        for name, labels in said.items()
        if len(labels) > 1
    ]
    if per == "patient" and divided:
        problems.append(
            f"the slides of {len(divided)} of {len(said)} patients contradict each "
            f"other, such as {', '.join(divided[:_SHOWN])}; where patients are bags, "
            "all slides of one need the same label"
        )
    return problems


def _compare_dimensions(bags: Sequence[Bag]) -> list[str]:
    """Name the slides whose features are not like those of the most."""
    counts = Counter(bag.n_features for bag in bags)
    if len(counts) < 2:
        return []
    common, n = counts.most_common(1)[0]
    others = [f"{b.bag_id} ({b.n_features})" for b in bags if b.n_features != common]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return [
        f"all files must have as many features per tile, but {n} have {common}, and "
        f"others do not: {', '.join(others[:_SHOWN])}{more}; embed all with one encoder"
    ]


def _find_whole_slides(bags: Sequence[Bag]) -> list[str]:
    """Say that files without places seem to hold a vector per slide, not per tile."""
    if len(bags) < 2 or any(len(bag) > 1 or bag.coords is not None for bag in bags):
        return []
    return [
        f"each of the {len(bags)} files holds one vector without a place, as of a "
        "whole slide, but bags are made of tiles' features; give the files of the tiles"
    ]


def _read_tiles(
    tiles: pd.DataFrame, files: Mapping[str, Path], encoder: str | None
) -> npt.NDArray[np.float32]:
    """Read the features of tiles, each once, in their order."""
    features: npt.NDArray[np.float32] | None = None
    missing: list[str] = []
    for slide_id, places in tiles.groupby("slide_id", sort=False).indices.items():
        path = files.get(to_file_name(str(slide_id))) or files.get(_PATCHES_FILE)
        own = tiles.iloc[places]
        if path is None:
            missing += own["tile_id"].tolist()
            continue
        found = open_features(path, encoder=encoder)
        if features is None:
            features = np.zeros((len(tiles), found.features.shape[1]), np.float32)
        if features.shape[1] != found.features.shape[1]:
            raise ManifestError(
                f"{path}: has {found.features.shape[1]} features per tile, others of "
                f"its folder {features.shape[1]}; embed all with one encoder"
            )
        rows = _find_rows(found, own, path)
        missing += own["tile_id"][np.isnan(rows)].tolist()
        is_found = ~np.isnan(rows)
        wanted = rows[is_found].astype(np.int64)
        joined = JoinedFeatures([found.features])
        features[places[is_found]] = joined[wanted]
    if features is None or missing:
        raise ManifestError(
            f"{len(missing):,} of {len(tiles):,} drawn tiles have no features, such as "
            f"{', '.join(missing[:3])}; embed the tiles that the bags were drawn from"
        )
    return features


def _find_rows(
    found: SlideFeatures, tiles: pd.DataFrame, path: Path
) -> npt.NDArray[np.float64]:
    """Find the row of each tile in a file, by its name or its place; NaN for none."""
    n = found.features.shape[0]
    if found.tile_ids is not None:
        rows = pd.Series(np.arange(n, dtype=np.float64), index=found.tile_ids)
        return np.asarray(rows.reindex(tiles["tile_id"]), np.float64)
    if found.coords is None:
        raise ManifestError(
            f"{path}: names neither its tiles nor their places (coords), so that drawn "
            "ones cannot be found in it; use the .h5 file, or embed the tiles again"
        )
    index = pd.MultiIndex.from_arrays([found.coords[:, 0], found.coords[:, 1]])
    rows = pd.Series(np.arange(n, dtype=np.float64), index=index)
    rows = rows[~rows.index.duplicated()]
    places = pd.MultiIndex.from_frame(tiles[["x_px0", "y_px0"]])
    return np.asarray(rows.reindex(places), np.float64)
