"""The layout of Kaggle's "Histopathologic Cancer Detection": one file per patch.

`train/<id>.tif` with `train_labels.csv` (`id,label`), `test/<id>.tif` without labels,
and, where somebody added it, `patch_id_wsi_full.csv` (`id,wsi`) with the slide of each
patch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eosin.cohorts.patch_sets import (
    Listing,
    PatchSet,
    fill_with_none,
    iter_images,
    raise_problems,
    read_patch_csv,
    say_examples,
    strip_suffix,
)
from eosin.cohorts.table import find_patient
from eosin.core import CohortError

LABELS_FILE = "train_labels.csv"
SLIDE_MAP_FILES = ("patch_id_wsi_full.csv", "patch_id_wsi_full.csv.gz")
# A patch is positive if there is tumour in its central 32 x 32 px.
PCAM_CLASS_NAMES = ("normal", "tumor")
# "Undersampled at 10x" from 0.243 at 40x, as its publication says.
PCAM_MPP = 0.97

_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


def read_kaggle(
    root: Path, *, slide_map: Path | None = None, allow_missing: bool = False
) -> PatchSet:
    """List the patches of a folder in Kaggle's layout.

    Patches of `test/` have neither label nor split.

    Args:
        root: The folder with `train_labels.csv`.
        slide_map: CSV with the slide of each patch (`id,wsi`, and `patient` where it
            is known). None takes `patch_id_wsi_full.csv` from the folder, if any.
        allow_missing: Leave out labels without a file, and take files without a
            label as unlabelled, rather than stop.

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
    problems: list[str] = []
    notes: dict[str, int] = {}
    train = _list_files(root, "train", listing, problems)
    test = _list_files(root, "test", listing, problems)
    labels = _read_labels(labels_path, problems, notes)
    both = sorted(train.keys() & test.keys())
    if both:
        problems.append(
            f"{len(both):,} id(s) are in train and in test ({say_examples(both)})"
        )
    warnings = _match(labels, train, problems, notes, allow_missing=allow_missing)
    raise_problems(root, problems)
    ids = sorted(train) + sorted(test)
    table = pd.DataFrame(
        {
            "tile_id": ids,
            "source": [train.get(name) or test[name] for name in ids],
            "source_index": -1,
            "label": np.array([labels.get(name, -1) for name in ids], np.int8),
            "split": None,
        }
    )
    warnings += _add_slides(table, _find_slide_map(root, slide_map), notes)
    return PatchSet(
        root.resolve(),
        table,
        PCAM_CLASS_NAMES,
        PCAM_MPP,
        notes | listing.describe(),
        tuple(warnings),
    )


def parse_binary_labels(
    texts: pd.Series, names: Sequence[str] | pd.Series, where: str
) -> tuple[pd.Series, list[str]]:
    """Read labels that must be 0 or 1.

    Args:
        texts: The labels as text.
        names: Whose they are, for the messages.
        where: The file, for the messages.

    Returns:
        The labels, NaN where one is neither, and the problem in words, if any.
    """
    labels = texts.map(_LABELS)
    is_bad = labels.isna().to_numpy()
    if not is_bad.any():
        return labels, []
    bad = pd.Series(names).to_numpy()[is_bad]
    pairs = [
        f"{name} has '{text}'"
        for name, text in zip(bad[:5], texts.to_numpy()[is_bad][:5], strict=True)
    ]
    more = f" and {is_bad.sum() - 5:,} more" if is_bad.sum() > 5 else ""
    problem = (
        f"{where}: a label must be 0 or 1; {is_bad.sum():,} are not "
        f"({', '.join(pairs)}{more})"
    )
    return labels, [problem]


def _list_files(
    root: Path, folder: str, listing: Listing, problems: list[str]
) -> dict[str, str]:
    """Map each id in a folder to its file, relative to the root."""
    files: dict[str, str] = {}
    if not (root / folder).is_dir():
        return files
    twice = []
    for name in iter_images(root / folder, listing):
        patch_id = strip_suffix(name)
        if patch_id in files:
            twice.append(patch_id)
        files[patch_id] = f"{folder}/{name}"
    if twice:
        problems.append(
            f"{folder}: {len(twice):,} id(s) have more than one file "
            f"({say_examples(sorted(twice))})"
        )
    if not files and folder == "train":
        problems.append(f"{folder}: holds no image")
    return files


def _read_labels(
    path: Path, problems: list[str], notes: dict[str, int]
) -> dict[str, int]:
    """Read the label of each id, and say what is wrong with them."""
    table = read_patch_csv(path, {"id": ("id",), "label": ("label",)})
    labels, wrong = parse_binary_labels(table["label"], table["id"], path.name)
    problems += wrong
    known = pd.DataFrame({"id": table["id"], "label": labels}).dropna()
    kinds = known.drop_duplicates()
    divided = kinds.loc[kinds["id"].duplicated(), "id"].unique()
    if len(divided):
        problems.append(
            f"{path.name}: {len(divided):,} id(s) have two labels "
            f"({say_examples(divided)}); keep one line of each"
        )
    notes["n_repeated_labels"] = int(known.duplicated().sum())
    return dict(zip(kinds["id"], kinds["label"].astype(int), strict=True))


def _match(
    labels: dict[str, int],
    train: dict[str, str],
    problems: list[str],
    notes: dict[str, int],
    *,
    allow_missing: bool,
) -> list[str]:
    """Hold labels and files against each other; return what was let pass."""
    lost = sorted(labels.keys() - train.keys())
    bare = sorted(train.keys() - labels.keys())
    notes |= {"n_labels_without_file": len(lost), "n_files_without_label": len(bare)}
    found = []
    if lost:
        found.append(
            f"{len(lost):,} of {len(labels):,} ids in {LABELS_FILE} have no file in "
            f"train ({say_examples(lost)})"
        )
    if bare and not problems:
        found.append(
            f"{len(bare):,} of {len(train):,} files in train have no label in "
            f"{LABELS_FILE} ({say_examples(bare)})"
        )
    if not allow_missing:
        problems += [f"{text}; --allow-missing goes on without" for text in found]
        return []
    if len(lost) == len(labels):
        problems.append(f"not one id in {LABELS_FILE} has a file in train")
    return found


def _find_slide_map(root: Path, given: Path | None) -> Path | None:
    if given is not None:
        return Path(given)
    paths = [root / name for name in SLIDE_MAP_FILES]
    return next((path for path in paths if path.is_file()), None)


def _add_slides(
    table: pd.DataFrame, path: Path | None, notes: dict[str, int]
) -> list[str]:
    """Add the columns of slide and patient; return what the user should know."""
    empty = pd.Series(None, index=table.index, dtype="object")
    table["slide_id"], table["patient_id"] = empty, empty
    if path is None:
        return []
    slides = read_patch_csv(
        path,
        {
            "id": ("id",),
            "slide_id": ("wsi", "slide_id", "slide"),
            "patient_id": ("patient_id", "patient"),
        },
        optional=("patient_id",),
    ).drop_duplicates()
    twice = slides.loc[slides["id"].duplicated(), "id"].unique()
    if len(twice):
        raise CohortError(
            f"{path}: a patch has one slide; {len(twice):,} id(s) stand there with "
            f"two ({say_examples(twice)})"
        )
    slides = slides.set_index("id")
    table["slide_id"] = fill_with_none(table["tile_id"].map(slides["slide_id"]))
    patients = table["slide_id"].map(find_patient, na_action="ignore")
    if "patient_id" in slides:
        patients = table["tile_id"].map(slides["patient_id"])
    table["patient_id"] = fill_with_none(patients)
    unknown = table["slide_id"].isna() & (table["label"] >= 0)
    notes["n_slides_known"] = int(table["slide_id"].nunique())
    notes["n_labelled_without_slide"] = int(unknown.sum())
    if not unknown.any():
        return []
    return [
        f"{unknown.sum():,} labelled patches are not in {path.name} "
        f"({say_examples(table.loc[unknown, 'tile_id'])})"
    ]
