"""PatchCamelyon: 96 x 96 px patches in HDF5 files, one pair of files per split."""

import gzip
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts.kaggle import PCAM_CLASS_NAMES, PCAM_MPP, parse_binary_labels
from eosin.cohorts.patch_sets import (
    PatchSet,
    fill_with_none,
    iter_entries,
    raise_problems,
    read_patch_csv,
)
from eosin.cohorts.table import find_patient
from eosin.core import CohortError

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

_FILE = re.compile(
    r"(?:.*_)?(train|valid|val|test)_(x|y)\.h5(\.gz)?|"
    r"(?:.*_)?(train|valid|val|test)_meta\.csv"
)
_SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


@dataclass(frozen=True)
class PcamFiles:
    """The files of one split.

    Attributes:
        split: `train`, `val` or `test`.
        images: The patches, `.h5`, or `.h5.gz` that has to be unpacked first.
        labels: Their labels, `.h5` or `.h5.gz`; None where there are none.
        meta: Their slides, CSV; None where there are none.
    """

    split: str
    images: Path
    labels: Path | None
    meta: Path | None

    @property
    def is_packed(self) -> bool:
        """Whether the patches have to be unpacked before they can be read."""
        return self.images.suffix == ".gz"


def find_pcam_files(root: Path) -> tuple[PcamFiles, ...]:
    """Find the files of each split in a folder; an unpacked file before a packed one.

    Raises:
        CohortError: There are none, or labels without patches.
    """
    root = Path(root)
    found: dict[tuple[str, str], Path] = {}
    for entry in sorted(iter_entries(root), key=lambda entry: entry.name):
        match = _FILE.fullmatch(entry.name)
        if match is None or not entry.is_file():
            continue
        split = _SPLITS[match[1] or match[4]]
        # Sorted: the unpacked file comes first, and is kept.
        found.setdefault((split, match[2] or "meta"), root / entry.name)
    splits = [s for s in ("train", "val", "test") if any(k[0] == s for k in found)]
    if not splits:
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
            for split in splits
            if (split, "x") not in found
        ],
    )
    return tuple(
        PcamFiles(
            split,
            found[split, "x"],
            found.get((split, "y")),
            found.get((split, "meta")),
        )
        for split in splits
    )


def read_pcam(
    root: Path, files: tuple[PcamFiles, ...], *, allow_missing: bool = False
) -> PatchSet:
    """List the patches of PCam's files; its splits are kept.

    Args:
        root: The data set's folder; patches that lie elsewhere are named in full.
        files: From `find_pcam_files`, with unpacked patches.
        allow_missing: Take patches without a label file as unlabelled, rather than
            stop.

    Raises:
        CohortError: Something is wrong; the message lists everything that is.
    """
    root = Path(root).resolve()
    problems: list[str] = []
    warnings: list[str] = []
    parts = []
    for own in files:
        n_patches = _count_patches(own.images)
        labels = np.full(n_patches, -1, np.int8)
        if own.labels is not None:
            labels = _read_labels(own.labels, own.images, n_patches, problems, labels)
        elif allow_missing:
            warnings.append(f"{own.split}: no label file (..._y.h5)")
        else:
            problems.append(
                f"{own.split}: {own.images.name} has no label file (..._y.h5); "
                "--allow-missing imports its patches without labels"
            )
        slides = _read_slides(own, n_patches, problems)
        parts.append(_build(own, root, labels, slides))
    raise_problems(root, problems)
    table = pd.concat(parts, ignore_index=True)
    for name in ("slide_id", "patient_id"):
        table[name] = fill_with_none(table[name])
    notes = {"n_slides_known": int(table["slide_id"].nunique())}
    return PatchSet(root, table, PCAM_CLASS_NAMES, PCAM_MPP, notes, tuple(warnings))


def _build(
    own: PcamFiles,
    root: Path,
    labels: npt.NDArray[np.int8],
    slides: list[str] | None,
) -> pd.DataFrame:
    n = len(labels)
    source = own.images.resolve()
    if source.is_relative_to(root):
        source = source.relative_to(root)
    slide_ids = pd.Series(slides if slides is not None else [None] * n, dtype="object")
    return pd.DataFrame(
        {
            "tile_id": [f"{own.split}_{i:06d}" for i in range(n)],
            "source": source.as_posix(),
            "source_index": np.arange(n),
            "label": labels,
            "split": own.split,
            "slide_id": slide_ids,
            "patient_id": slide_ids.map(find_patient, na_action="ignore"),
        }
    )


def _open(path: Path) -> Any:
    """Open an HDF5 file, a packed one in memory."""
    try:
        if path.suffix == ".gz":
            return h5py.File(io.BytesIO(gzip.decompress(path.read_bytes())), "r")
        return h5py.File(path, "r")
    except (OSError, EOFError) as error:
        raise CohortError(
            f"{path}: cannot be read as HDF5 ({error}); it is cut short or damaged, "
            "download it again"
        ) from error


def _take(file: Any, key: str, path: Path) -> Any:
    if key not in file:
        held = ", ".join(map(str, file.keys())) or "nothing"
        raise CohortError(f"{path}: needs a data set '{key}'; it holds {held}")
    return file[key]


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


def _read_labels(
    path: Path,
    images: Path,
    n_patches: int,
    problems: list[str],
    unknown: npt.NDArray[np.int8],
) -> npt.NDArray[np.int8]:
    with _open(path) as file:
        values = np.asarray(_take(file, "y", path)).ravel()
    if len(values) != n_patches:
        problems.append(
            f"{path.name} has {len(values):,} labels, but {images.name} has "
            f"{n_patches:,} patches; both must come from one download"
        )
        return unknown
    texts = pd.Series(values).map(
        lambda value: value.decode() if isinstance(value, bytes) else str(value)
    )
    rows = pd.Series([f"row {i}" for i in range(len(texts))])
    labels, wrong = parse_binary_labels(texts, rows, path.name)
    problems += wrong
    return unknown if wrong else labels.to_numpy(np.int8)


def _read_slides(
    own: PcamFiles, n_patches: int, problems: list[str]
) -> list[str] | None:
    if own.meta is None:
        return None
    table = read_patch_csv(own.meta, {"wsi": ("wsi",)})
    if len(table) != n_patches:
        problems.append(
            f"{own.meta.name} has {len(table):,} rows, but {own.images.name} has "
            f"{n_patches:,} patches; both must come from one download"
        )
        return None
    if (table["wsi"] == "").any():
        problems.append(f"{own.meta.name}: 'wsi' is empty in a row")
    return list(table["wsi"])
