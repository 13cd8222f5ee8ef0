"""Patches: which are meant, how they are told from slides, and how they are scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import (
    IMAGE_SUFFIXES,
    SLIDE_SUFFIXES,
    Listing,
    iter_images,
    say_examples,
    strip_suffix,
)
from eosin.core import CohortError, ModelError, SlideError, SlideFailure, hash_object
from eosin.evaluation import build_predictions
from eosin.prediction.scorer import TileScorer
from eosin.runs.card import Card, Sees
from eosin.runs.origin import see_tiles
from eosin.runs.run import Run
from eosin.settings import PredictionSettings
from eosin.slides import is_remote
from eosin.tiles import PatchReader, open_tile_folder

Rows = npt.NDArray[np.int64]

# Patches in a block: a few seconds of a small model, and no more lost by a break.
_BLOCK = 1024
_SAMPLE = 32
# Bytes that a patch's file may have per pixel (16 bit, four channels) and beyond.
_BYTES_PER_PIXEL = 8
_BYTES_BEYOND = 1 << 16
_LABELS_FILE = "train_labels.csv"
_SLIDES_ONLY = frozenset(SLIDE_SUFFIXES) - IMAGE_SUFFIXES


class ReadsPatches(Protocol):
    """A reader of patches by their row; safe on many threads."""

    def read(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Read `(rows, px, px, 3)`; SlideError where one cannot be read."""

    def close(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches to be scored.

    Attributes:
        folder: The data set: the folder that was given, or that was imported.
        table: One row each: `tile_id`, `file`, `slide_id`, `patient_id`, `label`
            (Int8, missing where nobody says it).
        fingerprint: Hash of all that tells one listing from another.
        notes: What the user should know of the choice, as sentences.
        open_reader: Opens a reader of the table's rows.
    """

    folder: Path
    table: pd.DataFrame
    fingerprint: str
    notes: tuple[str, ...]
    open_reader: Callable[[], ReadsPatches]

    @property
    def inputs(self) -> Mapping[str, str]:
        """Hash of what makes other work of it."""
        return {"patches": self.fingerprint}

    @property
    def blocks(self) -> list["Block"]:
        """All of them, in blocks that begin at fixed rows.

        So the numbers do not depend on where a call was interrupted.
        """
        n = len(self.table)
        starts = range(0, n, _BLOCK)
        return [Block(s, min(_BLOCK, n - s), self.fingerprint) for s in starts]


@dataclass(frozen=True)
class Block:
    """Patches that are scored together.

    Attributes:
        start: Row of the first one.
        size: How many there are.
        key: Hash of all that tells their listing from another.
    """

    start: int
    size: int
    key: str
    rows: Sequence[Mapping[str, Any]] = ()

    @property
    def item_id(self) -> str:
        """Its part is named after its first row."""
        return f"{self.start:09d}"


def score_block(
    scorer: TileScorer, reader: ReadsPatches, block: Block
) -> dict[str, Any]:
    """Score a block of patches, as far as they can be read.

    Returns:
        `probabilities` of those that can be read, and `errors` by the row in the block;
        where there are any, with a `key` by which the next call tries again.
    """
    errors: dict[int, str] = {}

    def read(rows: Rows) -> npt.NDArray[np.uint8]:
        try:
            return reader.read(rows + block.start)
        except SlideError as error:
            # Of several rows each is read again by itself.
            if len(rows) == 1:
                errors[int(rows[0])] = str(error)
            raise

    found: list[list[float]] = []
    try:
        scores = scorer.score_tiles(read, block.size, 64).probabilities
        found = scores[np.isfinite(scores).all(axis=1)].tolist()
    except SlideError:
        if len(errors) < block.size:
            raise
    part: dict[str, Any] = {"probabilities": found, "errors": errors}
    return part | ({"key": ""} if errors else {})


@dataclass(frozen=True, eq=False)
class ScoredPatches:
    """What was found of patches.

    Attributes:
        predictions: A prediction table of those that can be read.
        simple: `id, file, called` and `probability_<class>` of the same.
        failed: `id, file, message` of the others.
        failures: The same, for the record.
    """

    predictions: pd.DataFrame
    simple: pd.DataFrame
    failed: pd.DataFrame
    failures: tuple[SlideFailure, ...]


def tabulate_patches(
    patches: Patches, parts: Sequence[Mapping[str, Any]], card: Card
) -> ScoredPatches:
    """Make the tables of patches from the parts of their blocks.

    Raises:
        CohortError: Not one patch can be read.
    """
    table, target = patches.table, card.target
    messages: dict[int, str] = {}
    for block, part in zip(patches.blocks, parts, strict=True):
        if "failure" in part:
            whole = range(block.start, block.start + block.size)
            messages |= dict.fromkeys(whole, part["failure"]["message"])
        for row, text in part.get("errors", {}).items():
            messages[block.start + int(row)] = text
    rows = sorted(messages)
    texts = [messages[row] for row in rows]
    if len(rows) == len(table):
        raise CohortError(
            f"not one of {len(rows):,} patches can be read; the first: {texts[0]}"
        )
    columns = {"tile_id": "id"}
    names = table["tile_id"].iloc[rows]
    failures = [
        (name, "predict", text) for name, text in zip(names, texts, strict=True)
    ]
    failed = table.iloc[rows][["tile_id", "file"]].assign(message=texts)
    read = table.drop(index=table.index[rows])
    found = np.array([row for part in parts for row in part.get("probabilities", ())])
    labels = target.call(found, card.together.tile_threshold)
    called = [card.class_names[int(label)] for label in labels]
    values = dict(zip(target.columns, found.T, strict=True))
    simple = read[["tile_id", "file"]].assign(called=called, **values)
    return ScoredPatches(
        build_predictions(read.assign(split="external"), found, target, unit="tile"),
        simple.rename(columns=columns),
        failed.rename(columns=columns),
        tuple(SlideFailure(*own) for own in failures),
    )


def means_patches(what: Sequence[str | Path], tile_px: int | None) -> bool:
    """Tell patches from slides by what they are.

    Patches are a folder that `eosin import` wrote, and images none of which is larger
    than one of the model's tiles (of many, 32 are looked at). All else is slides.

    Args:
        what: What the user gave: files, folders, tables or URLs.
        tile_px: Side of the model's tiles.

    Raises:
        CohortError: A folder cannot be listed.
    """
    paths = [Path(part) for part in what]
    if any(is_remote(part) for part in what) or not all(p.exists() for p in paths):
        return False
    if any(_is_imported(path) for path in paths):
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
    sides = [_find_side(files[index], tile_px or 0) for index in chosen.tolist()]
    known = [side for side in sides if side is not None]
    return bool(known) and max(known) <= (tile_px or 0)


def list_patches(
    run: Run, what: Sequence[str | Path], settings: PredictionSettings
) -> Patches:
    """List the patches of an imported folder, or of folders of images.

    Args:
        run: The model that is to score them.
        what: One folder that `eosin import` wrote, or folders of images and images.
        settings: Which of an imported folder are meant, and whether images of another
            size are brought to the model's.

    Raises:
        CohortError: There is no patch, or two have one id.
        ManifestError: An imported folder is unfinished or has moved.
        ModelError: The model is for other tiles.
    """
    context = run.card.sees.context
    if run.card.learner != "tiles" or context != 1:
        shown = f"is shown {context:g} times a tile's side, and patches have nothing "
        raise ModelError(
            f"{run.path}: the model "
            + (
                f"{shown}around them; train on patches, or give slides"
                if run.card.learner == "tiles"
                else "calls bags of tiles, and a patch is none; give slides"
            )
        )
    paths = [Path(part) for part in what]
    imported = [path for path in paths if _is_imported(path)]
    if imported and len(paths) > 1:
        raise CohortError(
            f"{imported[0]}: an imported folder is scored by itself; {len(paths)} "
            "were given"
        )
    if imported:
        patches = _list_imported(run, paths[0], settings)
    else:
        patches = _list_images(run.card.sees, paths, resample=settings.resample)
    ids = patches.table["tile_id"]
    if (is_twice := ids.duplicated()).any():
        raise CohortError(
            f"{patches.folder}: each patch needs an id of its own, its file's name "
            f"without the suffix; {int(is_twice.sum()):,} ids stand for several files "
            f"({say_examples(ids[is_twice].unique())})"
        )
    return patches


def _is_imported(path: Path) -> bool:
    if not (path / "tiles.parquet").exists():
        return False
    return open_tile_folder(path).has_patches


def _find_side(path: Path, tile_px: int) -> float | None:
    """Return an image's longer side; infinity without decoding what is large."""
    if path.stat().st_size > tile_px**2 * _BYTES_PER_PIXEL + _BYTES_BEYOND:
        return np.inf
    try:
        reader = PatchReader([""], [str(path)], [-1], tile_px)
        return float(max(reader.read_patch(0).pixels.shape[:2]))
    except SlideError:
        return None


def _list_imported(run: Run, path: Path, settings: PredictionSettings) -> Patches:
    """List the rows of a tile table of patches."""
    folder, which = open_tile_folder(path), settings.which
    advice = "import them again as the model needs it (--set tile_px)"
    run.require_like(see_tiles(folder), where=str(path), advice=advice)
    is_bare = folder.tiles["label"].isna().to_numpy()
    notes = []
    n, rows = len(is_bare), np.arange(len(is_bare))
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
    tiles = folder.tiles.iloc[rows].reset_index(drop=True)
    table = tiles[["tile_id", "slide_id", "patient_id", "label"]].copy()
    table.insert(1, "file", tiles["source"])
    return Patches(
        Path(min(folder.slides["path"])),
        table,
        hash_object([folder.sha256, which]),
        tuple(notes),
        lambda: folder.open_reader(tiles),
    )


def _list_images(sees: Sees, paths: Sequence[Path], *, resample: bool) -> Patches:
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
    notes: tuple[str, ...] = ()
    if sees.mpp is not None:
        notes = (
            f"the model is for {sees.mpp:.4g} micrometres per pixel, and images do not "
            "say theirs; they must be of the same kind",
        )
    # Nobody knows whose they are; each stands for itself.
    table = pd.DataFrame(
        {"tile_id": ids, "file": sources, "slide_id": ids, "patient_id": ids}
    )
    content = [(i, s.st_size, s.st_mtime_ns) for i, s in zip(ids, stats, strict=True)]
    return Patches(
        root.resolve(),
        table.assign(label=pd.array([pd.NA] * len(ids), dtype="Int8")),
        hash_object(content),
        notes,
        lambda: PatchReader(
            [""] * len(ids),
            sources,
            [-1] * len(ids),
            sees.tile_px or 0,
            resample=resample,
        ),
    )
