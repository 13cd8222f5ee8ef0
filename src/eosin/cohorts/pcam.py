"""PatchCamelyon: 96 x 96 px patches in HDF5 files, one pair of files per split."""

import gzip
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from eosin.cohorts.columns import SPLIT_NAMES
from eosin.cohorts.kaggle import PCAM_CLASS_NAMES, PCAM_MPP
from eosin.cohorts.patch_sets import (
    Listing,
    PatchSet,
    iter_entries,
    own_patches,
    raise_problems,
    read_labels,
    read_patch_csv,
)
from eosin.cohorts.patients import find_patient
from eosin.cohorts.table import SPLITS
from eosin.cohorts.unpacking import unpack_once
from eosin.core import CohortError, Progress, raising, require_regular
from eosin.core.hdf5 import HDF5File, open_hdf5

# Where the authors put the files (doi 10.5281/zenodo.2546921). The only place that
# names it.
PCAM_ADDRESS = "https://zenodo.org/records/2546921/files/{name}?download=1"
# MD5 of the files there. The authors' README gives those of valid and test the other
# way round (basveeling/pcam, issues 1 and 4); these are what the files have.
PCAM_MD5: Mapping[str, str] = {
    "camelyonpatch_level_2_split_train_x.h5.gz": "1571f514728f59376b705fc836ff4b63",
    "camelyonpatch_level_2_split_train_y.h5.gz": "35c2d7259d906cfc8143347bb8e05be7",
    "camelyonpatch_level_2_split_train_meta.csv": "5a3dd671e465cfd74b5b822125e65b0a",
    "camelyonpatch_level_2_split_valid_x.h5.gz": "d5b63470df7cfa627aeec8b9dc0c066e",
    "camelyonpatch_level_2_split_valid_y.h5.gz": "2b85f58b927af9964a4c15b8f7e8f179",
    "camelyonpatch_level_2_split_valid_meta.csv": "67589e00a4a37ec317f2d1932c7502ca",
    "camelyonpatch_level_2_split_test_x.h5.gz": "d8c2d60d490dbd479f8199bdfa0cf6ec",
    "camelyonpatch_level_2_split_test_y.h5.gz": "60a7035772fbdb7f34eb86d4420cf66a",
    "camelyonpatch_level_2_split_test_meta.csv": "3455fd69135b66734e1008f3af684566",
}

_PARTS = ("x", "y", "meta")
# A label has a byte, or eight; there are some 300,000.
_MOST_LABEL_BYTES = 64 << 20
_FILE = re.compile(r"(?:.*_)?(train|valid|val|test)_(?:(x|y)\.h5(?:\.gz)?|(meta)\.csv)")


PcamFiles = Mapping[str, Mapping[str, Path]]
"""By split: the file of its patches `x` (`.h5`, or `.h5.gz` that has to be unpacked
first), of their labels `y` and their slides `meta`, where there are any."""


def find_pcam_files(root: Path) -> PcamFiles:
    """Find the files of each split in a folder; an unpacked file before a packed one.

    Raises:
        CohortError: There are none, or labels without patches.
    """
    root = Path(root)
    found: dict[str, dict[str, Path]] = {}
    for entry in sorted(iter_entries(root), key=lambda entry: entry.name):
        match = _FILE.fullmatch(entry.name)
        if match is not None and entry.is_file():
            own = found.setdefault(SPLIT_NAMES[match[1]], {})
            # Sorted: the unpacked file comes first, and is kept.
            own.setdefault(match[2] or match[3], root / entry.name)
    if not found:
        raise CohortError(
            f"{root}: the PCam layout needs files such as "
            "camelyonpatch_level_2_split_train_x.h5 (or .h5.gz); 'eosin fetch pcam' "
            "downloads them; for train_labels.csv and a folder train use 'eosin import "
            "kaggle', for class folders 'eosin import folder'"
        )
    raise_problems(
        root,
        [
            f"{split}: there are labels or slides, but no patches (..._x.h5)"
            for split in SPLITS
            if split in found and "x" not in found[split]
        ],
    )
    return {
        split: {part: found[split][part] for part in _PARTS if part in found[split]}
        for split in SPLITS
        if split in found
    }


def read_pcam(
    root: Path,
    files: PcamFiles,
    *,
    unpack_to: Path,
    allow_missing: bool = False,
    progress: Progress | None = None,
) -> PatchSet:
    """List the patches of PCam's files; its splits are kept.

    Packed patches are unpacked to `unpack_to`, unless they were there before; patches
    without a label file are unlabelled where that is allowed.

    Raises:
        CohortError: Something is wrong; the message lists everything that is.
        RunError: The disk is too small or cannot be written.
    """
    root, listing = Path(root).resolve(), Listing()
    parts = []
    for split, own in files.items():
        images, packed = own["x"], own["x"].name
        if images.suffix == ".gz":
            images, md5 = unpack_once(images, unpack_to, progress=progress)
            known = {"md5": md5, "is_official": md5 == PCAM_MD5.get(packed)}
            listing.notes.setdefault("unpacked", {})[packed] = known
        if "y" not in own and allow_missing:
            listing.warnings.append(f"{split}: no label file (..._y.h5)")
        elif "y" not in own:
            listing.problems.append(
                f"{split}: {images.name} has no label file (..._y.h5); "
                "--allow-missing imports its patches without labels"
            )
        source = images.resolve()
        if source.is_relative_to(root):
            source = source.relative_to(root)
        part = _list_patches(split, images, own, listing)
        parts.append(part.assign(source=source.as_posix(), split=split))
    raise_problems(root, listing.problems)
    table = pd.concat(parts, ignore_index=True)
    if "patient_id" in table:
        own_patches(table, listing)
    n_slides = table["slide_id"].nunique() if "slide_id" in table else 0
    listing.notes["n_slides_known"] = n_slides
    return listing.finish(root, table, PCAM_CLASS_NAMES, PCAM_MPP)


def _list_patches(
    split: str, images: Path, own: Mapping[str, Path], listing: Listing
) -> pd.DataFrame:
    """List a split's patches with their labels and slides."""
    n = _count_patches(images)
    table = pd.DataFrame({"source_index": np.arange(n), "label": -1})
    table["tile_id"] = [f"{split}_{i:06d}" for i in range(n)]
    lengths = {}
    if "y" in own:
        table["label"] = labels = _read_labels(own["y"], listing)
        lengths["y"] = f"{len(labels):,} labels", len(labels)
    if "meta" in own:
        slides = read_patch_csv(own["meta"], {"wsi": ("wsi",)})["wsi"]
        lengths["meta"] = f"{len(slides):,} rows", len(slides)
        if (slides == "").any():
            listing.problems.append(f"{own['meta'].name}: 'wsi' is empty in a row")
        table["slide_id"], table["patient_id"] = slides, slides.map(find_patient)
    listing.problems += [
        f"{own[part].name} has {held}, but {images.name} has {n:,} patches; both must "
        "come from one download"
        for part, (held, length) in lengths.items()
        if length != n
    ]
    return table


@contextmanager
def _open(path: Path) -> Iterator[HDF5File]:
    """Open an HDF5 file, a packed one in memory."""
    failure, remedy = "cannot be read as HDF5", "it is cut short: download it again"
    data = None
    if path.suffix == ".gz":
        with raising(CohortError, f"{path}: {failure}", remedy=remedy):
            require_regular(path)
            with gzip.open(path) as packed:
                data = packed.read(_MOST_LABEL_BYTES + 1)
        if len(data) > _MOST_LABEL_BYTES:
            raise CohortError(
                f"{path}: labels may have {_MOST_LABEL_BYTES >> 20} MB, unpacked, and "
                "these have more"
            )
    with open_hdf5(path, CohortError, failure, remedy=remedy, data=data) as file:
        yield file


def _take(file: HDF5File, key: str, path: Path) -> Any:
    found = file.find(key)
    if not isinstance(found, h5py.Dataset):
        held = ", ".join(file.names) or "nothing"
        raise CohortError(f"{path}: needs a data set '{key}'; it holds {held}")
    return found


def _count_patches(path: Path) -> int:
    with _open(path) as file:
        images = _take(file, "x", path)
        shape, kind = images.shape, images.dtype
    is_image = len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] == shape[2]
    if not is_image or kind not in (np.uint8, np.uint16):
        raise CohortError(
            f"{path}: 'x' must hold square patches (patches, height, width, 1, 3 or "
            f"4) of 8 or 16 bit, it is {shape} of {kind}"
        )
    return int(shape[0])


def _read_labels(path: Path, listing: Listing) -> pd.Series:
    with _open(path) as file:
        values = np.asarray(_take(file, "y", path)).ravel()
    texts = pd.Series(values).map(
        lambda value: value.decode() if isinstance(value, bytes) else str(value)
    )
    names = [f"row {i}" for i in range(len(texts))]
    return read_labels(texts, names, path.name, listing)
