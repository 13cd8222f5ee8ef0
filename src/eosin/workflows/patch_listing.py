"""Which patches a user means, and how they are told from slides."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import IMAGE_SUFFIXES, Listing, iter_images, strip_suffix
from eosin.core import CohortError, ModelError, SlideError, hash_object
from eosin.inference import ModelCard
from eosin.slides import is_remote
from eosin.tiles import PatchReader
from eosin.workflows.run_checks import require_same_tiles
from eosin.workflows.slide_listing import SLIDE_SUFFIXES
from eosin.workflows.tile_folder import open_tile_folder

WhichPatches = Literal["auto", "unlabelled", "all"]

_SAMPLE = 32
# Bytes that a patch's file may have per pixel (16 bit, four channels) and beyond.
_BYTES_PER_PIXEL = 8
_BYTES_BEYOND = 1 << 16
_LABELS_FILE = "train_labels.csv"
_SLIDES_ONLY = frozenset(SLIDE_SUFFIXES) - IMAGE_SUFFIXES


class ReadsPatches(Protocol):
    """A reader of patches by their row."""

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Read `(rows, px, px, 3)`; SlideError where one cannot be read."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True, eq=False)
class PatchListing:
    """Patches to be scored.

    Attributes:
        folder: The data set: the folder that was given, or that was imported.
        table: One row each: `tile_id`, `file`, `slide_id`, `patient_id`, `label`
            (Int8, missing where nobody says it).
        fingerprint: Hash of all that tells one listing from another.
        notes: What the user should know of the choice, as sentences.
        open_reader: Opens a reader of the table's rows; safe on many threads.
    """

    folder: Path
    table: pd.DataFrame
    fingerprint: str
    notes: tuple[str, ...]
    open_reader: Callable[[], ReadsPatches]


def means_patches(given: Sequence[str | Path], tile_px: int) -> bool:
    """Tell patches from slides by what they are.

    Patches are a folder that `eosin import` wrote, and images none of which is larger
    than one of the model's tiles (of many, 32 are looked at). All else is slides.

    Args:
        given: What the user gave: files, folders, tables or URLs.
        tile_px: Side of the model's tiles.

    Raises:
        CohortError: A folder cannot be listed.
    """
    paths = [Path(part) for part in given]
    if any(is_remote(part) for part in given) or not all(p.exists() for p in paths):
        return False
    if any((path / "tiles.parquet").exists() for path in paths):
        return True
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
        elif any(file.suffix.lower() in _SLIDES_ONLY for file in path.iterdir()):
            # Small pictures beside slides are their labels or overviews.
            return False
        else:
            found = sorted(iter_images(path, Listing(), recursive=True))
            files += [path / name for name in found]
    if not files or any(f.suffix.lower() not in IMAGE_SUFFIXES for f in files):
        return False
    chosen = np.unique(np.linspace(0, len(files) - 1, _SAMPLE).astype(int))
    sides = [_find_side(files[index], tile_px) for index in chosen.tolist()]
    known = [side for side in sides if side is not None]
    return bool(known) and max(known) <= tile_px


def _find_side(path: Path, tile_px: int) -> float | None:
    """Return an image's longer side; infinity without decoding what is large."""
    if path.stat().st_size > tile_px**2 * _BYTES_PER_PIXEL + _BYTES_BEYOND:
        return np.inf
    try:
        reader = PatchReader([""], [str(path)], [-1], tile_px)
        return float(max(reader.read_patch(0).pixels.shape[:2]))
    except SlideError:
        return None


def list_patches(
    given: Sequence[str | Path],
    card: ModelCard,
    *,
    which: WhichPatches = "auto",
    resample: bool = False,
) -> PatchListing:
    """List the patches of an imported folder, or of folders of images.

    Args:
        given: One folder that `eosin import` wrote, or folders of images and images.
        card: The model that is to score them.
        which: Of an imported folder, the patches without a label, or all; `auto` is
            those without where there are any.
        resample: Whether images of another size are brought to the model's.

    Raises:
        CohortError: There is no patch, or two have one id.
        ManifestError: An imported folder is unfinished or has moved.
        ModelError: The model is for other tiles.
    """
    if card.context != 1:
        raise ModelError(
            f"the model is shown {card.context:g} times a tile's side, and patches "
            "have nothing around them; train on patches, or give slides"
        )
    paths = [Path(part) for part in given]
    imported = [path for path in paths if (path / "tiles.parquet").exists()]
    if not imported:
        return _list_images(paths, card, resample=resample)
    if len(paths) > 1:
        raise CohortError(
            f"{imported[0]}: an imported folder is scored by itself; {len(paths)} "
            "were given"
        )
    return _list_imported(paths[0], card, which)


def _list_imported(path: Path, card: ModelCard, which: WhichPatches) -> PatchListing:
    """List the rows of a tile table of patches."""
    folder = open_tile_folder(path)
    if not folder.has_patches:
        raise CohortError(
            f"{path}: holds tiles of slides, not patches; to score slides, give the "
            "slides themselves or their slide table"
        )
    require_same_tiles(
        card,
        folder,
        compares_classes=False,
        advice="import them again as the model needs it (--set tile_px)",
    )
    is_bare = folder.tiles["label"].isna().to_numpy()
    notes = []
    n = len(is_bare)
    if which == "unlabelled" or (which == "auto" and is_bare.any()):
        rows = np.flatnonzero(is_bare)
        if not len(rows):
            raise CohortError(
                f"{path}: all of its {n:,} patches have labels; --set which=all scores "
                "them"
            )
        if len(rows) < n:
            notes.append(
                f"{len(rows):,} of {n:,} patches have no label; these are scored "
                "(--set which=all scores all)"
            )
    else:
        rows = np.arange(n)
    tiles = folder.tiles.iloc[rows].reset_index(drop=True)
    roots = sorted(set(folder.slides["path"]))
    table = tiles[["tile_id", "slide_id", "patient_id", "label"]].copy()
    table.insert(1, "file", tiles["source"])
    return PatchListing(
        Path(roots[0]),
        table,
        hash_object([folder.sha256, which]),
        tuple(notes),
        functools.partial(folder.open_reader, tiles),
    )


def _list_images(
    paths: Sequence[Path], card: ModelCard, *, resample: bool
) -> PatchListing:
    """List images by themselves; an id is the path below its folder."""
    root = paths[0] if paths[0].is_dir() else paths[0].parent
    if (root / _LABELS_FILE).exists() and (root / "test").is_dir():
        raise CohortError(
            f"{root}: is a whole data set; give {root / 'test'}, or put it behind a "
            "tile table by 'eosin import kaggle' and give that"
        )
    files: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            found = iter_images(path, Listing(), recursive=True)
            files += [(strip_suffix(name), path / name) for name in found]
        elif path.exists():
            files.append((path.stem, path))
        else:
            raise CohortError(f"{path}: no such file or folder")
    if not files:
        raise CohortError(f"{paths[0]}: holds no image")
    files.sort()
    ids = [patch_id for patch_id, _ in files]
    sources = [str(path.resolve()) for _, path in files]
    stats = [path.stat() for _, path in files]
    notes = []
    if card.mpp is not None:
        notes.append(
            f"the model is for {card.mpp:.4g} micrometres per pixel, and images do not "
            "say theirs; they must be of the same kind"
        )
    table = pd.DataFrame(
        {
            "tile_id": ids,
            "file": sources,
            # Nobody knows whose they are; each stands for itself.
            "slide_id": ids,
            "patient_id": ids,
            "label": pd.array([pd.NA] * len(ids), dtype="Int8"),
        }
    )
    return PatchListing(
        root.resolve(),
        table,
        hash_object(
            [(i, s.st_size, s.st_mtime_ns) for i, s in zip(ids, stats, strict=True)]
        ),
        tuple(notes),
        functools.partial(_ImageReader, sources, card.tile_px, resample=resample),
    )


class _ImageReader:
    """Reads images as tiles; those of another size only if that is wanted."""

    def __init__(self, sources: Sequence[str], tile_px: int, *, resample: bool) -> None:
        n = len(sources)
        self._reader = PatchReader([""] * n, sources, [-1] * n, tile_px)
        self._tile_px, self._resample = tile_px, resample

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        if self._resample:
            return self._reader.read(rows)
        px = self._tile_px
        out = np.empty((len(rows), px, px, 3), np.uint8)
        for target, row in zip(out, rows.tolist(), strict=True):
            pixels = self._reader.read_patch(row).pixels
            if pixels.shape[:2] != (px, px):
                height, width = pixels.shape[:2]
                raise SlideError(
                    f"has {width} x {height} px, the model takes {px} x {px}; --set "
                    "resample=true brings such patches to its size"
                )
            target[:] = pixels
        return out

    def close(self) -> None:
        self._reader.close()
