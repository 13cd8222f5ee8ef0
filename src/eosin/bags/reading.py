"""Bags from folders of feature files, of eosin's own kind and of others'.

Read are the layouts of CLAM (`h5_files/<slide>.h5`), TRIDENT
(`features_<encoder>/<slide>.h5`), STAMP (`feats`, coordinates in micrometres) and
AtlasPatch (`coords` of five columns, a group of features by encoder).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags.bag import Bag, check_bags
from eosin.bags.features import FeatureFile
from eosin.core import ManifestError

_SUBFOLDERS = ("h5_files", "features")


def find_feature_files(folder: Path) -> dict[str, Path]:
    """List a folder's feature files by slide id.

    Args:
        folder: Of eosin, or CLAM's (which holds `h5_files`), TRIDENT's or STAMP's.

    Raises:
        ManifestError: There is none.
    """
    folder = Path(folder)
    places = [folder, *(folder / name for name in _SUBFOLDERS)]
    places += sorted(folder.glob("features_*"))
    for place in places:
        files = sorted(place.glob("*.h5")) if place.is_dir() else []
        if files:
            return {file.stem: file for file in files}
    raise ManifestError(
        f"{folder}: no feature file (<slide_id>.h5) in it, nor in h5_files or "
        "features_*; make them with 'eosin embed'"
    )


def read_slide_bag(
    path: Path, *, slide_mpp: float | None = None, encoder: str | None = None
) -> Bag:
    """Open one slide's features as a bag without a label.

    The features stay in the file and are read when they are used.

    Args:
        path: The file.
        slide_mpp: Micrometres per level-0 pixel; needed for coordinates of files
            that hold micrometres (STAMP).
        encoder: Which features, where a file has those of several (AtlasPatch).

    Raises:
        ManifestError: The file is damaged or of another kind, its lengths differ,
            or its coordinates cannot be turned into pixels.
    """
    path = Path(path)
    file = FeatureFile(path, _find_dataset(path, encoder))
    coords = _read_coords(file, slide_mpp)
    if coords is not None and len(coords) != file.shape[0]:
        raise ManifestError(
            f"{path}: as many coords as features are needed, got {len(coords)} and "
            f"{file.shape[0]}; the file is damaged"
        )
    slide_id = path.stem
    return Bag(bag_id=slide_id, features=file, coords=coords, slide_ids=(slide_id,))


def read_bags(
    folder: Path,
    cohort: pd.DataFrame,
    class_names: Sequence[str],
    *,
    per: str = "slide",
    encoder: str | None = None,
) -> list[Bag]:
    """Read the labelled bags of a cohort.

    Args:
        folder: Holds the feature files.
        cohort: `slide_id`, `patient_id`, `label` and, for STAMP's files, `mpp`.
        class_names: Class of each label; label 0 is the negative class.
        per: `slide`, or `patient`, which joins the slides of each.
        encoder: As for `read_slide_bag`.

    Raises:
        ManifestError: A slide has no features, features have no slide, a label is
            unknown, a patient's slides contradict each other (with `patient`), or
            the files differ in their dimension. All that is wrong is named.
    """
    files = find_feature_files(folder)
    rows = cohort.to_dict("records")
    problems = _find_problems(files, rows, class_names, per)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ManifestError(f"{folder}: {len(problems)} problem(s):\n{lines}")
    number = {name.lower(): index for index, name in enumerate(class_names)}
    bags = []
    for row in rows:
        mpp = row.get("mpp")
        bag = read_slide_bag(
            files[str(row["slide_id"])],
            slide_mpp=None if mpp is None or pd.isna(mpp) else float(mpp),
            encoder=encoder,
        )
        bags.append(
            Bag(
                bag_id=bag.bag_id,
                features=bag.features,
                coords=bag.coords,
                label=number[str(row["label"]).lower()],
                patient_id=str(row["patient_id"]),
                slide_ids=bag.slide_ids,
            )
        )
    check_bags(bags)
    return join_patients(bags) if per == "patient" else bags


def join_patients(bags: Sequence[Bag]) -> list[Bag]:
    """Join the bags of each patient into one, in order of first appearance.

    Coordinates are of several slides then, and left out.
    """
    by_patient: dict[str, list[Bag]] = {}
    for bag in bags:
        by_patient.setdefault(str(bag.patient_id), []).append(bag)
    return [
        own[0]
        if len(own) == 1
        else Bag(
            bag_id=patient_id,
            features=np.concatenate([bag.read() for bag in own]),
            label=own[0].label,
            patient_id=patient_id,
            slide_ids=tuple(name for bag in own for name in bag.slide_ids),
        )
        for patient_id, own in by_patient.items()
    ]


def _find_problems(
    files: Mapping[str, Path],
    rows: Sequence[Mapping[Any, Any]],
    class_names: Sequence[str],
    per: str,
) -> list[str]:
    """Say everything that keeps files and table from fitting together."""
    known = {name.lower() for name in class_names}
    slides = [str(row["slide_id"]) for row in rows]
    problems = [f"slide {name} has no features" for name in slides if name not in files]
    problems += [
        f"the features {files[name].name} belong to no slide of the table"
        for name in sorted(set(files) - set(slides))
    ]
    said: dict[str, set[str]] = {}
    for row in rows:
        label = str(row["label"]).lower()
        if label not in known:
            problems.append(
                f"slide {row['slide_id']}: label must be one of "
                f"{', '.join(class_names)}, got '{row['label']}'"
            )
        said.setdefault(str(row["patient_id"]), set()).add(label)
    if per == "patient":
        problems += [
            f"patient {name} has slides of {' and '.join(sorted(labels))}; a patient "
            "needs one label"
            for name, labels in said.items()
            if len(labels) > 1
        ]
    return problems


def _find_dataset(path: Path, encoder: str | None) -> str:
    """Find what a file calls its features."""
    try:
        with h5py.File(path, "r") as file:
            if "feats" in file:
                return "feats"
            found = file.get("features")
            if not isinstance(found, h5py.Group):
                return "features"
            names = list(found)
    except OSError as error:
        raise ManifestError(
            f"{path}: not an HDF5 file of features, or cut short ({error})"
        ) from error
    if encoder is None and len(names) == 1:
        return f"features/{names[0]}"
    if encoder in names:
        return f"features/{encoder}"
    raise ManifestError(
        f"{path}: holds features of {', '.join(names) or 'no encoder'}; name one of "
        "them"
    )


def _read_coords(
    file: FeatureFile, slide_mpp: float | None
) -> npt.NDArray[np.int64] | None:
    """Read coordinates as level-0 pixels; None where the file has none."""
    coords = file.read_dataset("coords")
    if coords is None:
        return None
    if coords.ndim == 3 and coords.shape[0] == 1:
        coords = coords[0]
    if coords.ndim != 2 or coords.shape[1] < 2:
        raise ManifestError(
            f"{file.path}: coords must be (tiles, 2), got {coords.shape}"
        )
    # AtlasPatch: x, y, width, height and level, all of level 0.
    places = coords[:, :2].astype(np.float64)
    if str(file.attributes.get("unit", "")) == "um":
        if slide_mpp is None:
            raise ManifestError(
                f"{file.path}: its coords are in micrometres, so the slide's mpp is "
                "needed; give it in the column 'mpp' of the slide table"
            )
        places /= slide_mpp
    return np.rint(places).astype(np.int64)
