"""Writing imported patches as the tables that every later step reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from eosin.cohorts import PatchSet
from eosin.core import atomic_path
from eosin.tiles import ManifestInfo, write_manifest
from eosin.workflows.patch_scan import PatchScan

_MEASURES = ("sharpness", "mean_red", "mean_green", "mean_blue")


def name_resampling(sides: Mapping[int, int], tile_px: int) -> str:
    """Name the filters by which patches of these sides are brought to a tile's.

    Args:
        sides: Patches by their side in pixels.
        tile_px: Side of the tiles as read.
    """
    names = [
        *(["area"] if any(side > tile_px for side in sides) else []),
        *(["linear"] if any(side < tile_px for side in sides) else []),
    ]
    return " and ".join(names) or "none"


def write_patch_table(
    patches: PatchSet,
    table: pd.DataFrame,
    scan: PatchScan,
    info: ManifestInfo,
    mpp: float | None,
    folder: Path,
) -> None:
    """Write `tiles.parquet` and `slides.csv`.

    Patches count as tissue, all of each is of its class, and its place on its slide is
    0 because nobody knows it.

    Args:
        patches: The data set.
        table: Its readable patches with slide, patient and split.
        scan: What reading these found.
        info: What is the same for all of them.
        mpp: Micrometres per pixel of the patches as stored; None where unknown.
        folder: Where to write.
    """
    labels = table["label"].to_numpy(np.int64)
    tiles = table.assign(
        label=pd.array(labels, dtype="Int8"),
        x_px0=0,
        y_px0=0,
        size_px0=scan.side_px,
        tissue_fraction=np.float32(1),
        flags="",
        content_hash=[f"{value:016x}" for value in scan.content.tolist()],
        look_hash=[f"{value:016x}" for value in scan.looks.hashes[:, 0].tolist()],
    )
    tiles.loc[labels < 0, "label"] = pd.NA
    for number, name in enumerate(info.class_names):
        share = np.where(labels < 0, np.nan, labels == number)
        tiles[f"{name}_fraction"] = share.astype(np.float32)
    for number, name in enumerate(_MEASURES):
        tiles[name] = scan.measures[:, number]
    write_manifest(folder / "tiles.parquet", tiles, info)
    # A labelled patch says the split; those without a label have none.
    firsts = table.sort_values("label", ascending=False, kind="stable")
    firsts = firsts.drop_duplicates("slide_id").sort_index()
    slides = pd.DataFrame(
        {
            "slide_id": firsts["slide_id"],
            "patient_id": firsts["patient_id"],
            "path": str(patches.root),
            "label": None,
            "mpp_used": mpp,
            "split": firsts["split"],
            "n_tiles": firsts["slide_id"].map(table["slide_id"].value_counts()),
        }
    )
    with atomic_path(folder / "slides.csv") as temporary:
        slides.to_csv(temporary, index=False)
