"""Whether a run and tiles belong together, or must not."""

from pathlib import Path

import pandas as pd

from eosin.core import ManifestError, ModelError, read_json
from eosin.inference import ModelCard
from eosin.tiles import ManifestInfo
from eosin.workflows.tile_folder import TileFolder, open_tile_folder

# Slides are rarely scanned at exactly the resolution that their makers name.
MPP_TOLERANCE = 0.1


def open_training_folder(run: Path) -> TileFolder | None:
    """Open the tiles that a run was trained on, if they are still there."""
    path = Path(read_json(run / "run.json")["notes"]["tiles"])
    return open_tile_folder(path) if path.exists() else None


def require_unchanged(run: Path, card: ModelCard, folder: TileFolder) -> None:
    """Stop where the tiles were cut anew since: labels and places may be others.

    Raises:
        ManifestError: They were.
    """
    if card.training_data.get("tiles_sha256") not in (None, folder.sha256):
        raise ManifestError(
            f"{folder.path}: its tiles are no longer those that {run} was trained on; "
            "train again, or give other tiles by --on"
        )


def require_same_tiles(
    card: ModelCard,
    folder: TileFolder,
    *,
    compares_classes: bool = True,
    advice: str = "tile again as the model needs it",
) -> None:
    """Stop where tiles are not cut as a model's own were.

    Args:
        card: The model's.
        folder: The tiles.
        compares_classes: Whether they must have the model's classes, too.
        advice: What to do where they differ.

    Raises:
        ModelError: They differ in size, context, mpp or classes.
    """
    info = folder.info
    problems = find_differences(
        info, tile_px=card.tile_px, context=card.context, mpp=card.mpp
    )
    if compares_classes and tuple(info.class_names) != tuple(card.class_names):
        problems.append(
            f"classes {', '.join(card.class_names)}, the tiles have "
            f"{', '.join(info.class_names)}"
        )
    if problems:
        raise ModelError(
            f"{folder.path}: the model was trained on {'; '.join(problems)}; {advice}"
        )


def find_differences(
    info: ManifestInfo, *, tile_px: int, context: float, mpp: float | None
) -> list[str]:
    """Say how tiles are cut otherwise than a model needs, one text a difference.

    Args:
        info: Of the tiles.
        tile_px: Side that the model needs, in pixels as it sees them.
        context: Side of what it is shown, in sides of a tile.
        mpp: Micrometres per pixel; None where nobody stated it.
    """
    problems = []
    if info.tile_px != tile_px:
        problems.append(f"tile_px {tile_px}, the tiles have {info.tile_px}")
    if info.context != context:
        problems.append(f"context {context:g}, the tiles have {info.context:g}")
    # Of patches nobody may have stated it, and then nothing can be compared.
    if mpp and info.mpp and abs(info.mpp / mpp - 1) > MPP_TOLERANCE:
        problems.append(f"mpp {mpp:g}, the tiles have {info.mpp:g}")
    return problems


def require_unseen(splits: pd.DataFrame, folder: TileFolder) -> None:
    """Stop where an external cohort shares a slide or a patient with training.

    Args:
        splits: A run's `splits.csv`.
        folder: The external cohort.

    Raises:
        ManifestError: It does.
    """
    for column in ("patient_id", "slide_id"):
        shared = sorted(
            set(splits[column].astype(str)) & set(folder.slides[column].astype(str))
        )
        if shared:
            raise ManifestError(
                f"{folder.path}: an external cohort must be unseen, and {len(shared)} "
                f"{column}(s) were in the training cohort ({', '.join(shared[:5])}); "
                "leave them out, or rename them if they are others by the same name"
            )
