"""Patches: which are meant, how they are told from slides, and how they are scored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from eosin.core import (
    CohortError,
    ModelError,
    SlideError,
    SlideFailure,
    hash_object,
    raising,
    require_regular,
)
from eosin.evaluation import build_predictions
from eosin.prediction.scorer import TileScorer
from eosin.prediction.sources import Rows
from eosin.runs.card import Card, Sees
from eosin.runs.origin import see_tiles
from eosin.runs.run import Run
from eosin.settings import PredictionSettings
from eosin.slides import is_remote
from eosin.tiles import PatchReader, TileReader, open_tile_folder

# Patches in a block: a few seconds of a small model, and no more lost by a break.
_BLOCK = 1024
_SAMPLE = 32
# Bytes that a patch's file may have per pixel (16 bit, four channels) and beyond.
_BYTES_PER_PIXEL = 8
_BYTES_BEYOND = 1 << 16
_LABELS_FILE = "train_labels.csv"
_SLIDES_ONLY = frozenset(SLIDE_SUFFIXES) - IMAGE_SUFFIXES


@dataclass(frozen=True)
class Block:
    """Patches that are scored together, by the row of the first: an item."""

    start: int
    size: int
    key: str
    rows: Sequence[Mapping[str, Any]] = ()

    @property
    def item_id(self) -> str:
        """Its part is named after its first row."""
        return f"{self.start:09d}"


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
    open_reader: Callable[[], PatchReader | TileReader]

    @property
    def inputs(self) -> Mapping[str, str]:
        """Hash of what makes other work of it."""
        return {"patches": self.fingerprint}

    @property
    def blocks(self) -> list[Block]:
        """All, by fixed rows, so that numbers do not depend on interruptions."""
        n = len(self.table)
        starts = range(0, n, _BLOCK)
        return [Block(s, min(_BLOCK, n - s), self.fingerprint) for s in starts]


def score_block(
    scorer: TileScorer, reader: PatchReader | TileReader, block: Block
) -> dict[str, Any]:
    """Score a block of patches, as far as they can be read.

    Its part holds `probabilities` of those, and `errors` by the row in the block; where
    there are any, with a `key` by which the next call tries again.
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

    known: list[list[float]] = []
    try:
        scores = scorer.score_tiles(read, block.size).probabilities
        known = scores[np.isfinite(scores).all(axis=1)].tolist()
    except SlideError:
        if len(errors) < block.size:
            raise
    part: dict[str, Any] = {"probabilities": known, "errors": errors}
    return part | ({"key": ""} if errors else {})


@dataclass(frozen=True, eq=False)
class ScoredPatches:
    """What was found of patches.

    Attributes:
        predictions: A prediction table of those that can be read.
        simple: `id, file, called` and `probability_<class>` of the same.
        failed: `id, file, message` of the others.
    """

    predictions: pd.DataFrame
    simple: pd.DataFrame
    failed: pd.DataFrame

    @property
    def failures(self) -> tuple[SlideFailure, ...]:
        """Those that cannot be read, for the record."""
        pairs = zip(self.failed["id"], self.failed["message"], strict=True)
        return tuple(SlideFailure(name, "predict", text) for name, text in pairs)


def tabulate_patches(
    patches: Patches, parts: Sequence[Mapping[str, Any]], card: Card
) -> ScoredPatches:
    """Make the tables of patches from the parts of their blocks."""
    table, target = patches.table, card.target
    messages: dict[int, str] = {}
    for block, part in zip(patches.blocks, parts, strict=True):
        errors = part.get("errors", {})
        if "failure" in part:
            errors = dict.fromkeys(range(block.size), part["failure"]["message"])
        messages |= {block.start + int(row): text for row, text in errors.items()}
    rows = sorted(messages)
    if len(rows) == len(table):
        raise CohortError(
            f"not one of {len(rows):,} patches can be read; the first: "
            f"{messages[rows[0]]}"
        )
    ids = table[["tile_id", "file"]].rename(columns={"tile_id": "id"})
    is_known = ~np.isin(np.arange(len(table)), rows)
    values = np.array([row for part in parts for row in part.get("probabilities", ())])
    labels = target.call(values, card.together.tile_threshold)
    return ScoredPatches(
        build_predictions(
            table[is_known].assign(split="external"), values, target, unit="tile"
        ),
        ids[is_known].assign(
            called=[card.class_names[int(label)] for label in labels],
            **dict(zip(target.columns, values.T, strict=True)),
        ),
        ids[~is_known].assign(message=[messages[row] for row in rows]),
    )


def means_patches(what: Sequence[str | Path], tile_px: int | None) -> bool:
    """Tell patches from slides by what they are.

    Patches are a folder that `eosin import` wrote, and images none of which is larger
    than one of the model's tiles, of `tile_px` (of many, 32 are looked at). All else
    that a user may give, files, folders, tables or URLs, is slides.
    """
    paths = [Path(part) for part in what]
    if any(is_remote(part) for part in what) or not all(p.exists() for p in paths):
        return False
    if any(_is_imported(path) for path in paths):
        return True
    inside = (file for path in paths if path.is_dir() for file in path.iterdir())
    # Small pictures beside slides are their labels or overviews.
    if any(file.suffix.lower() in _SLIDES_ONLY for file in inside):
        return False
    files = [file for path in paths for _, file in sorted(_iter_images(path))]
    if not files or any(f.suffix.lower() not in IMAGE_SUFFIXES for f in files):
        return False
    chosen = np.unique(np.linspace(0, len(files) - 1, _SAMPLE).astype(int))
    sides = [_find_side(files[index], tile_px or 0) for index in chosen.tolist()]
    known = [side for side in sides if side is not None]
    return bool(known) and max(known) <= (tile_px or 0)


def list_patches(
    run: Run, what: Sequence[str | Path], settings: PredictionSettings
) -> Patches:
    """List the patches of one imported folder, or of folders of images and images.

    The settings say which of an imported folder are meant, and whether images of
    another size are brought to the model's.
    """
    if run.card.learner != "tiles":
        raise ModelError(
            f"{run.path}: the model calls bags of tiles, and a patch is none; give "
            "slides"
        )
    if (context := run.card.sees.context) != 1:
        raise ModelError(
            f"{run.path}: the model is shown {context:g} times a tile's side, and "
            "patches have nothing around them; train on patches, or give slides"
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
    has_tiles = (path / "tiles.parquet").exists()
    return has_tiles and open_tile_folder(path).has_patches


def _iter_images(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the images below a folder, or the file itself, each behind its id."""
    if not path.is_dir():
        with raising(SlideError, f"{path}: cannot be read"):
            require_regular(path)
        yield path.stem, path
        return
    for name in iter_images(path, Listing(), recursive=True):
        yield strip_suffix(name), path / name


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
    tiles = folder.tiles
    notes: tuple[str, ...] = ()
    is_bare, n = tiles["label"].isna(), len(tiles)
    if which == "unlabelled" or (which == "auto" and is_bare.any()):
        tiles = tiles[is_bare].reset_index(drop=True)
        if tiles.empty:
            raise CohortError(
                f"{path}: all of its {n:,} patches have labels; --set which=all scores "
                "them"
            )
        if len(tiles) < n:
            notes = (
                f"{len(tiles):,} of {n:,} patches have no label; these are scored "
                "(--set which=all scores all)",
            )
    table = tiles[["tile_id", "slide_id", "patient_id", "label"]].copy()
    table.insert(1, "file", tiles["source"])
    return Patches(
        Path(min(folder.slides["path"])),
        table,
        hash_object([folder.sha256, which]),
        notes,
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
    if missing := [path for path in paths if not path.exists()]:
        raise CohortError(f"{missing[0]}: no such file or folder")
    files = sorted(pair for path in paths for pair in _iter_images(path))
    if not files:
        raise CohortError(f"{paths[0]}: holds no image")
    ids = [patch_id for patch_id, _ in files]
    sources = [str(path.resolve()) for _, path in files]
    stats = [(name, path.stat()) for name, path in files]
    content = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
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
    n, tile_px = len(ids), sees.tile_px or 0
    return Patches(
        root.resolve(),
        table.assign(label=pd.array([pd.NA] * n, dtype="Int8")),
        hash_object(content),
        notes,
        lambda: PatchReader([""] * n, sources, [-1] * n, tile_px, resample=resample),
    )
