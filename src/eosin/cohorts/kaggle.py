"""The layout of Kaggle's "Histopathologic Cancer Detection": one file per patch.

`train/<id>.tif` with `train_labels.csv` (`id,label`), `test/<id>.tif` without labels,
and, where somebody added it, `patch_id_wsi_full.csv` (`id,wsi`) with the slide of each
patch.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from eosin.cohorts.patch_sets import (
    Listing,
    PatchSet,
    fill_with_none,
    iter_images,
    own_patches,
    raise_problems,
    read_labels,
    read_patch_csv,
    say_examples,
    strip_suffix,
)
from eosin.cohorts.patients import find_patient, is_missing
from eosin.cohorts.table import find_divided
from eosin.core import CohortError
from eosin.settings import ImportSettings

LABELS_FILE = "train_labels.csv"
SLIDE_MAP_FILES = ("patch_id_wsi_full.csv", "patch_id_wsi_full.csv.gz")
# A patch is positive if there is tumour in its central 32 x 32 px.
PCAM_CLASS_NAMES = ("normal", "tumor")
# "Undersampled at 10x" from 0.243 at 40x, as its publication says.
PCAM_MPP = 0.97


def read_kaggle(root: Path, settings: ImportSettings) -> PatchSet:
    """List the patches of a folder in Kaggle's layout.

    Patches of `test/` have neither label nor split.

    Raises:
        CohortError: Something is wrong; the message lists everything that is.
    """
    root = Path(root)
    labels_path = root / LABELS_FILE
    if not labels_path.is_file() or not (root / "train").is_dir():
        raise CohortError(
            f"{root}: the Kaggle layout needs {LABELS_FILE} and a folder train; for "
            ".h5 files use 'eosin import pcam', for class folders 'eosin import folder'"
        )
    listing = Listing()
    train = _list_files(root, "train", listing)
    if not train:
        listing.problems.append("train: holds no image")
    test = _list_files(root, "test", listing)
    labels = _read_labels(labels_path, listing)
    both = sorted(train.keys() & test.keys())
    listing.object_to(both, "id(s) are in train and in test")
    _match(labels, train, listing, allow_missing=settings.allow_missing)
    raise_problems(root, listing.problems)
    files = pd.Series(train | test, dtype="object")[sorted(train) + sorted(test)]
    table = pd.DataFrame({"tile_id": files.index, "source": files.to_numpy()})
    table["label"] = table["tile_id"].map(labels).fillna(-1)
    given = settings.slide_map
    paths = [Path(given)] if given else [root / name for name in SLIDE_MAP_FILES]
    if path := next((p for p in paths if given or p.is_file()), None):
        _add_slides(table, path, listing)
    listing.notes |= listing.describe()
    return listing.finish(root, table, PCAM_CLASS_NAMES, PCAM_MPP)


def _list_files(root: Path, folder: str, listing: Listing) -> dict[str, str]:
    """Map each id in a folder, if it is there, to its file below the root."""
    files: dict[str, str] = {}
    twice = []
    if (root / folder).is_dir():
        for name in iter_images(root / folder, listing):
            patch_id = strip_suffix(name)
            if patch_id in files:
                twice.append(patch_id)
            files[patch_id] = f"{folder}/{name}"
    listing.object_to(
        sorted(twice), "id(s) have more than one file", where=f"{folder}: "
    )
    return files


def _read_labels(path: Path, listing: Listing) -> dict[str, int]:
    """Read the label of each id, and say what is wrong with them."""
    table = read_patch_csv(path, {"id": ("id",), "label": ("label",)})
    table["label"] = read_labels(table["label"], table["id"], path.name, listing)
    known = table.dropna()
    listing.object_to(
        find_divided(known, "id", "label"),
        "id(s) have two labels",
        where=f"{path.name}: ",
        remedy="; keep one line of each",
    )
    listing.notes["n_repeated_labels"] = int(known.duplicated().sum())
    return dict(zip(known["id"], known["label"].astype(int), strict=True))


def _match(
    labels: Mapping[str, int],
    train: Mapping[str, str],
    listing: Listing,
    *,
    allow_missing: bool,
) -> None:
    """Hold labels and files against each other."""
    lost = sorted(labels.keys() - train.keys())
    bare = sorted(train.keys() - labels.keys())
    listing.notes["n_labels_without_file"] = len(lost)
    listing.notes["n_files_without_label"] = len(bare)
    remarks = []
    if lost:
        remarks.append(
            f"{len(lost):,} of {len(labels):,} ids in {LABELS_FILE} have no file in "
            f"train ({say_examples(lost)})"
        )
    if bare and not listing.problems:
        remarks.append(
            f"{len(bare):,} of {len(train):,} files in train have no label in "
            f"{LABELS_FILE} ({say_examples(bare)})"
        )
    if not allow_missing:
        listing.problems += [f"{r}; --allow-missing goes on without" for r in remarks]
    elif len(lost) == len(labels):
        listing.problems.append(f"not one id in {LABELS_FILE} has a file in train")
    else:
        listing.warnings += remarks


def _add_slides(table: pd.DataFrame, path: Path, listing: Listing) -> None:
    """Add slide and patient of each patch, as a table says them."""
    columns = {
        "id": ("id",),
        "slide_id": ("wsi", "slide_id", "slide"),
        "patient_id": ("patient_id", "patient"),
    }
    slides = read_patch_csv(path, columns, optional=("patient_id",)).drop_duplicates()
    twice = slides.loc[slides["id"].duplicated(), "id"].unique()
    listing.object_to(
        twice,
        "id(s) stand there with two",
        where=f"{path}: a patch has one slide; ",
    )
    slides = slides.drop_duplicates("id").set_index("id")
    table["slide_id"] = fill_with_none(table["tile_id"].map(slides["slide_id"]))
    if "patient_id" in slides:
        table["patient_id"] = table["tile_id"].map(slides["patient_id"])
        is_unknown = table["slide_id"].notna() & (
            table["patient_id"].fillna("").map(is_missing)
        )
        if is_unknown.any() and not is_unknown[table["slide_id"].notna()].all():
            unowned = sorted(table.loc[is_unknown, "slide_id"].unique())
            listing.warnings.append(
                f"{path.name} names no patient of {len(unowned):,} slides "
                f"({say_examples(unowned)}), and each counts as a patient of its own"
            )
    else:
        table["patient_id"] = table["slide_id"].map(find_patient, na_action="ignore")
    own_patches(table, listing)
    unknown = table.loc[table["slide_id"].isna() & (table["label"] >= 0), "tile_id"]
    listing.notes["n_slides_known"] = int(table["slide_id"].nunique())
    listing.notes["n_labelled_without_slide"] = len(unknown)
    if len(unknown):
        listing.warnings.append(
            f"{len(unknown):,} labelled patches are not in {path.name} "
            f"({say_examples(unknown)})"
        )
