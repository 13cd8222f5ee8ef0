"""Made prediction tables."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import Classes, build_predictions

TARGET = Classes(("normal", "tumour"))

MakeTiles = Callable[..., pd.DataFrame]


@pytest.fixture
def target() -> Classes:
    return TARGET


@pytest.fixture
def make_tiles() -> MakeTiles:
    """Make tile predictions: each slide is a (slide, patient, split, label, scores)."""

    def make(
        *slides: tuple[str, str, str, int | None, list[float]],
    ) -> pd.DataFrame:
        rows = [
            {
                "tile_id": f"{slide}/{i}",
                "slide_id": slide,
                "patient_id": patient,
                "split": split,
                "label": label,
                "x_px0": 256 * i,
                "y_px0": 0,
                "size_px0": 256,
                "score": score,
            }
            for slide, patient, split, label, scores in slides
            for i, score in enumerate(scores)
        ]
        tiles = pd.DataFrame(rows)
        scores = tiles["score"].to_numpy(dtype=float)
        values = np.stack([1 - scores, scores], 1)
        return build_predictions(tiles, values, TARGET, unit="tile")

    return make


@pytest.fixture
def cohort(make_tiles: MakeTiles) -> pd.DataFrame:
    """Tiles of 36 slides of 18 patients, of which tumours score higher."""
    rng = np.random.default_rng(0)
    slides = []
    for i in range(36):
        label = i % 2
        shift = 2.0 * label + rng.normal(0, 0.5)
        scores = 1 / (1 + np.exp(1 - shift - rng.normal(0, 1.2, 20)))
        split = ("train", "val", "test")[(i // 2) % 3]
        slides.append((f"S{i:02}", f"P{i // 2:02}", split, label, list(scores)))
    return make_tiles(*slides)
