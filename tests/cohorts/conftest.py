"""Patch data sets in each layout, tiny and made."""

from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

MakeKaggle = Callable[..., Path]


def paint(seed: int, side_px: int = 32) -> np.ndarray:
    """Paint a patch of smooth noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def make_kaggle(tmp_path: Path) -> MakeKaggle:
    """Write a folder in Kaggle's layout; labels by id, then the ids of test."""

    def make(labels, *, test=(), rows=None, suffix=".tif", files=None) -> Path:
        root = tmp_path / "kaggle set é"
        (root / "train").mkdir(parents=True)
        for i, name in enumerate(labels if files is None else files):
            cv2.imwrite(str(root / "train" / f"{name}{suffix}"), paint(i))
        if test:
            (root / "test").mkdir()
        for i, name in enumerate(test):
            cv2.imwrite(str(root / "test" / f"{name}{suffix}"), paint(100 + i))
        lines = rows or [f"{name},{label}" for name, label in labels.items()]
        (root / "train_labels.csv").write_text("\n".join(["id,label", *lines]) + "\n")
        return root

    return make


@pytest.fixture
def make_pcam(tmp_path: Path) -> Callable[..., Path]:
    """Write PCam files of some splits: labels by split, slides by split."""

    def make(labels, *, slides=None) -> Path:
        root = tmp_path / "pcam"
        root.mkdir(exist_ok=True)
        for number, (split, values) in enumerate(labels.items()):
            stem = f"camelyonpatch_level_2_split_{split}"
            rng = np.random.default_rng(number)
            with h5py.File(root / f"{stem}_x.h5", "w") as file:
                pixels = rng.integers(0, 256, (len(values), 32, 32, 3))
                file["x"] = pixels.astype(np.uint8)
            with h5py.File(root / f"{stem}_y.h5", "w") as file:
                file["y"] = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
            if slides is not None:
                rows = [f"{i},0,0,True,True,{s}" for i, s in enumerate(slides[split])]
                head = ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"
                (root / f"{stem}_meta.csv").write_text("\n".join([head, *rows]))
        return root

    return make


@pytest.fixture
def make_folders(tmp_path: Path) -> Callable[..., Path]:
    """Write images by path below a root."""

    def make(*paths: str) -> Path:
        root = tmp_path / "folders"
        root.mkdir(exist_ok=True)
        for i, name in enumerate(paths):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            elif path.suffix in (".png", ".jpg", ".tif"):
                cv2.imwrite(str(path), paint(i))
            else:
                path.write_text("no image")
        return root

    return make
