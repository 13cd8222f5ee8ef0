"""Where the tiles of a feature file lie, with the slide at hand or without."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import read_cohort
from eosin.core import Box, ManifestError, SlideError
from eosin.slides import Slide, fingerprint_slide, is_remote, open_slide, split_packed
from eosin.workflows.tile_folder import open_tile_folder


@dataclass(frozen=True)
class SlidePlace:
    """The level-0 frame of a slide.

    Attributes:
        dimensions: (width, height).
        mpp: Micrometres per pixel; None where nobody stated it.
        bounds: The scanned part, whose corner is QuPath's origin.
    """

    dimensions: tuple[int, int]
    mpp: float | None
    bounds: Box

    def require_mpp(self) -> float:
        """Return the mpp.

        Raises:
            SlideError: Nobody stated it.
        """
        if self.mpp is None:
            raise SlideError(
                "its resolution is not known; give it in the column 'mpp' of the slide "
                "table"
            )
        return self.mpp


class SlideFinder:
    """Finds the slides that features were made from, where they are at hand.

    Args:
        slides: `slide_id`, `path` and `mpp`.
        licence: Of the slides, as far as it was stated.
    """

    def __init__(self, slides: pd.DataFrame, licence: str | None = None) -> None:
        self.licence = licence
        self._slides = {
            str(row["slide_id"]): (
                str(row["path"]) if isinstance(row["path"], str) else None,
                float(row["mpp"]) if row["mpp"] > 0 else None,
            )
            for row in slides[["slide_id", "path", "mpp"]].to_dict("records")
        }

    @classmethod
    def of_tiles(cls, folder: Path | None) -> Self:
        """Find slides where a tile folder says they are; none if it is gone."""
        nothing = pd.DataFrame(columns=["slide_id", "path", "mpp"])
        if folder is None:
            return cls(nothing)
        try:
            found = open_tile_folder(folder)
        except ManifestError:
            return cls(nothing)
        if found.has_patches:
            return cls(nothing)
        slides = found.slides.drop(columns="mpp", errors="ignore")
        return cls(slides.rename(columns={"mpp_used": "mpp"}), found.licence)

    @classmethod
    def of_table(cls, path: Path) -> Self:
        """Find slides where a slide table says they are.

        Raises:
            CohortError: The table is wrong.
        """
        return cls(read_cohort(path, needs_files=False).table)

    def find_mpp(self, slide_id: str) -> float | None:
        """Return the resolution that the table gives a slide; None without one."""
        return self._slides.get(slide_id, (None, None))[1]

    def find_path(self, slide_id: str) -> str | None:
        """Return where a slide is; None where it is not at hand."""
        path = self._slides.get(slide_id, (None, None))[0]
        if path is None:
            return None
        is_there = is_remote(path) or split_packed(path) or Path(path).exists()
        return path if is_there else None

    def fingerprint(self, slide_id: str) -> str | None:
        """Hash a slide's file; None where it is not at hand or cannot be read."""
        path = self.find_path(slide_id)
        try:
            return None if path is None else fingerprint_slide(path)
        except (SlideError, OSError):
            return None

    @contextmanager
    def open(self, slide_id: str) -> Iterator[Slide | None]:
        """Open a slide; None where it is not at hand.

        Raises:
            SlideError: It cannot be read.
        """
        path = self.find_path(slide_id)
        if path is None:
            yield None
            return
        with open_slide(path, mpp=self.find_mpp(slide_id)) as slide:
            yield slide


def place_slide(
    slide: Slide | None,
    attributes: Mapping[str, Any],
    tiles: pd.DataFrame,
    mpp: float | None,
) -> SlidePlace:
    """Find a slide's frame: its own, or what its feature file says of it.

    Without the slide, its scanned bounds are not known and taken to be all of it.

    Args:
        slide: The slide; None where it is not at hand.
        attributes: Of the feature file.
        tiles: `x_px0`, `y_px0` and `size_px0`.
        mpp: From a slide table; None where there is none.
    """
    if slide is not None:
        return SlidePlace(slide.dimensions, slide.mpp, slide.bounds)
    width, height = (
        int(max(attributes.get(f"level0_{name}", 0), end))
        for name, end in (
            ("width", (tiles["x_px0"] + tiles["size_px0"]).max()),
            ("height", (tiles["y_px0"] + tiles["size_px0"]).max()),
        )
    )
    return SlidePlace(
        (width, height), mpp or find_slide_mpp(attributes), Box(0, 0, width, height)
    )


def find_slide_mpp(attributes: Mapping[str, Any]) -> float | None:
    """Return micrometres per level-0 pixel by a feature file; None if it is silent."""
    mpp = float(attributes.get("slide_mpp", np.nan))
    power = float(attributes.get("level0_magnification", np.nan))
    for found in (mpp, 10 / power if power > 0 else np.nan):
        if np.isfinite(found) and found > 0:
            return found
    return None


def find_tile_size(
    attributes: Mapping[str, Any],
    coords: npt.NDArray[np.int64],
    mpp: float | None,
) -> int:
    """Return the side of a feature file's tiles in level-0 pixels.

    Taken from the file (eosin, TRIDENT, CLAM's patch files, STAMP with an mpp); where
    it says nothing, from the smallest step between neighbours, which holds for tiles
    that do not overlap.

    Args:
        attributes: Of the file.
        coords: `(tiles, 2)`.
        mpp: Micrometres per level-0 pixel; None where nobody stated it.

    Raises:
        ManifestError: Nothing tells it.
    """
    for name in ("size_px0", "patch_size_level0"):
        if name in attributes:
            return int(attributes[name])
    if "patch_size" in attributes and "downsample" in attributes:
        downsample = float(np.ravel(attributes["downsample"])[0])
        return round(float(attributes["patch_size"]) * downsample)
    if "tile_size_um" in attributes and mpp:
        return round(float(attributes["tile_size_um"]) / mpp)
    steps = [np.diff(np.unique(coords[:, axis])) for axis in (0, 1)]
    found = [int(step.min()) for step in steps if len(step)]
    if not found:
        raise ManifestError(
            "does not say how large its tiles are; give their side in level-0 pixels "
            "by --set tile_px0=..."
        )
    return min(found)
