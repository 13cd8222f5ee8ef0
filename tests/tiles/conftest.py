"""Made slides and tile tables for the tests of tiles."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from eosin.core import Box
from eosin.slides import Level, Phantom, Resolution, Slide, make_phantom


class ArraySlide(Slide):
    """A slide in memory, of one level."""

    vendor = "test"
    reader = "array"
    properties: dict[str, str] = {}  # noqa: RUF012

    def __init__(
        self,
        image: npt.NDArray[np.uint8],
        *,
        mpp: float | None = 1.0,
        bounds: Box | None = None,
        native_tile_px: tuple[int, int] | None = None,
    ) -> None:
        height, width = image.shape[:2]
        self.image = image
        self.path = Path("made.svs")
        self.levels = (Level(width, height, 1.0),)
        self.resolution = Resolution(mpp, "given" if mpp else "none")
        self.bounds = bounds or Box(0, 0, width, height)
        self.native_tile_px = native_tile_px

    def close(self) -> None:
        pass

    def _read_level(
        self, level: int, x_px0: int, y_px0: int, width_px: int, height_px: int
    ) -> npt.NDArray[np.uint8]:
        del level
        height, width = self.image.shape[:2]
        out = np.full((height_px, width_px, 3), 255, np.uint8)
        left, top = max(0, x_px0), max(0, y_px0)
        right, bottom = min(width, x_px0 + width_px), min(height, y_px0 + height_px)
        if right > left and bottom > top:
            out[top - y_px0 : bottom - y_px0, left - x_px0 : right - x_px0] = (
                self.image[top:bottom, left:right]
            )
        return out


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom(seed=3, size_px=(1024, 896), mpp=1.0)


@pytest.fixture(scope="session")
def slide_table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Three written slides, as rows of `slides.csv`."""
    folder = tmp_path_factory.mktemp("slides with späces")
    rows = []
    for seed in range(3):
        path = folder / f"S{seed}.tif"
        make_phantom(seed=seed, size_px=(512, 384), mpp=1.0).write(path)
        rows.append({"slide_id": f"S{seed}", "path": str(path), "mpp_used": 1.0})
    return pd.DataFrame(rows)


def paint_disc(
    size_px: int = 200, *, colour: tuple[int, int, int] = (200, 120, 170)
) -> npt.NDArray[np.uint8]:
    """Paint a disc of stain, radius a quarter of the side, on glass."""
    image = np.full((size_px, size_px, 3), 243, np.uint8)
    middle = size_px // 2
    cv2.circle(image, (middle, middle), size_px // 4, colour, -1)
    return image


@pytest.fixture
def disc() -> npt.NDArray[np.uint8]:
    return paint_disc()


@pytest.fixture(scope="session")
def array_slide() -> type[ArraySlide]:
    return ArraySlide
