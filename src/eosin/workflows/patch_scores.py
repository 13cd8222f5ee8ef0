"""Scoring many patches in parts, each kept as soon as it is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.core import Progress, SlideError, atomic_path
from eosin.inference import Session, score_tiles

Rows = npt.NDArray[np.int64]
Tiles = npt.NDArray[np.uint8]

# Patches in a part: a few seconds of a small model, and no more lost by a break.
_PART = 1024


@dataclass(frozen=True, eq=False)
class PatchScores:
    """What a model says of patches.

    Attributes:
        probabilities: `(patches, classes)`; NaN where one cannot be read.
        errors: Why a patch cannot be read, by row.
    """

    probabilities: npt.NDArray[np.float64]
    errors: dict[int, str]


def score_patches(  # noqa: PLR0913 - each says another thing of one pass
    read: Callable[[Rows], Tiles],
    n_patches: int,
    sessions: Sequence[Session],
    folder: Path,
    *,
    views: int,
    temperature: float,
    batch: int,
    readers: int = 1,
    progress: Progress | None = None,
) -> PatchScores:
    """Score patches part by part, and take over parts that are already there.

    Parts begin at fixed rows, so that the numbers do not depend on where a call was
    interrupted. A part with patches that could not be read is scored anew.

    Args:
        read: From rows to `(rows, px, px, 3)`; SlideError where one cannot be read.
        n_patches: Rows 0 to n_patches - 1 are scored.
        sessions: The model, or an ensemble.
        folder: Where the parts are kept; they must be of the same patches and
            settings.
        views: 1, 2, 4 or 8 turns and flips that are averaged.
        temperature: Logits are divided by it.
        batch: Patches per call of the model.
        readers: Threads that read.
        progress: Told how far it is.

    Raises:
        ModelError: The model fails.
        RunError: A part cannot be written.
    """
    parts = []
    errors: dict[int, str] = {}
    with (progress or Progress()).task("Scoring patches", n_patches) as task:
        for start in range(0, n_patches, _PART):
            n = min(_PART, n_patches - start)
            path = folder / f"{start:09d}.npy"
            part = _read_part(path, n)
            if part is None:
                part = _score_part(
                    read,
                    start,
                    n,
                    sessions,
                    views=views,
                    temperature=temperature,
                    batch=batch,
                    readers=readers,
                    task=task,
                )
                _write_part(path, part)
            else:
                task.advance(n)
            parts.append(part.probabilities)
            errors |= {start + row: text for row, text in part.errors.items()}
    return PatchScores(np.concatenate(parts), errors)


def _score_part(
    read: Callable[[Rows], Tiles],
    start: int,
    n: int,
    sessions: Sequence[Session],
    **options: Any,
) -> PatchScores:
    """Score rows `start` to `start + n`, as far as they can be read."""
    errors: dict[int, str] = {}

    def read_own(rows: Rows) -> Tiles:
        try:
            return read(rows + start)
        except SlideError as error:
            # Of several rows each is read again by itself.
            if len(rows) == 1:
                errors[int(rows[0])] = str(error)
            raise

    try:
        scores = score_tiles(read_own, n, sessions, **options)
    except SlideError:
        if len(errors) < n:
            raise
        n_classes = max(2, int(sessions[0].outputs["logits"][0]))
        return PatchScores(np.full((n, n_classes), np.nan), errors)
    return PatchScores(scores.probabilities, errors)


def _read_part(path: Path, n: int) -> PatchScores | None:
    """Read a part that is whole; None where it has to be scored."""
    if not path.exists():
        return None
    try:
        probabilities = np.load(path, allow_pickle=False)
    except (EOFError, OSError, ValueError):
        return None
    if probabilities.ndim != 2 or len(probabilities) != n:
        return None
    is_whole = bool(np.isfinite(probabilities).all())
    return PatchScores(probabilities, {}) if is_whole else None


def _write_part(path: Path, part: PatchScores) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, part.probabilities, allow_pickle=False)
