import os
from pathlib import Path

import numpy as np
import pytest

from eosin.models import build_classifier, build_encoder


@pytest.fixture
def small_encoder():
    return build_encoder("smallcnn", tile_px=32, weights="none", seed=3)


@pytest.fixture
def small_classifier(small_encoder):
    return build_classifier(small_encoder, n_classes=2, seed=3)


@pytest.fixture
def tiles():
    """Five tiles of 32 px, raw RGB."""
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def weight_files():
    """The folder of real weight files."""
    root = Path(__file__).parents[2]
    data = Path(os.environ.get("EOSIN_DATA", root / "../shared/data"))
    folder = data / "weights"
    if not folder.is_dir():
        pytest.skip(f"needs the real weight files in {folder}; EOSIN_DATA names data")
    return folder
