"""Features on disk: one HDF5 file per slide, which CLAM's and TRIDENT's tools read.

`features` is `(tiles, dimension)`, `coords` `(tiles, 2)` the tiles' top-left corners in
level-0 pixels. Both carry the attributes that CLAM (mahmoodlab/CLAM, `wsi_core`) and
TRIDENT (mahmoodlab/TRIDENT, `IO.py`) write and ask for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from eosin.core import ManifestError, atomic_path

_CHUNK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class FeatureInfo:
    """What the features of one slide were made from.

    Attributes:
        slide_id: The slide.
        encoder: Name of the encoder.
        tile_px: Side of a tile as it was shown, in its own pixels.
        mpp: Micrometres per pixel of a tile as it was shown; None where nobody
            stated it.
        size_px0: Side of a tile in level-0 pixels.
        overlap_px: Pixels that neighbours share, in the tile's own pixels.
        slide_size_px0: (width, height) of level 0; None where it is not known.
        slide_mpp: Micrometres per level-0 pixel; None where it is not known.
        key: Hash of all that the features depend on.
    """

    slide_id: str
    encoder: str
    tile_px: int
    mpp: float | None
    size_px0: int
    overlap_px: int = 0
    slide_size_px0: tuple[int, int] | None = None
    slide_mpp: float | None = None
    key: str = ""


def write_features(
    path: Path,
    features: npt.NDArray[np.floating[Any]],
    coords: npt.NDArray[np.int64],
    info: FeatureInfo,
    *,
    tile_ids: Sequence[str] | None = None,
) -> None:
    """Write a slide's features, whole or not at all.

    Args:
        path: The file, `<slide_id>.h5`.
        features: `(tiles, dimension)`, kept as float32 (float16 stays).
        coords: `(tiles, 2)`, x and y in level-0 pixels.
        info: What they were made from.
        tile_ids: Name of each tile in the tile table.

    Raises:
        ManifestError: Lengths differ, or a value is not finite.
        RunError: The file cannot be written.
    """
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise ManifestError(
            f"{path.name}: features (tiles, dimension) and coords (tiles, 2) of as many"
            f" tiles are needed, got {features.shape} and {coords.shape}"
        )
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0]
        raise ManifestError(
            f"{path.name}: features must be finite; tile {row} has "
            f"{features[row, column]} at {column}"
        )
    kept = features if features.dtype == np.float16 else features.astype(np.float32)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        chunk = (min(len(kept), _CHUNK_ROWS), kept.shape[1]) if len(kept) else None
        data = file.create_dataset("features", data=kept, chunks=chunk)
        places = file.create_dataset("coords", data=coords.astype(np.int64))
        name, folder = info.slide_id, str(path.parent)
        data.attrs.update({"name": name, "savetodir": folder, "encoder": info.encoder})
        places.attrs.update(_describe_places(info, folder))
        if tile_ids is not None:
            file.create_dataset(
                "tile_id", data=list(tile_ids), dtype=h5py.string_dtype()
            )
        file.attrs.update(
            {
                "format": "eosin 1",
                "slide_id": name,
                "encoder": info.encoder,
                "tile_px": info.tile_px,
                "mpp": np.nan if info.mpp is None else info.mpp,
                "size_px0": info.size_px0,
                "key": info.key,
            }
        )


def _describe_places(info: FeatureInfo, folder: str) -> dict[str, Any]:
    """Give the attributes that CLAM's and TRIDENT's readers look for."""
    width, height = info.slide_size_px0 or (0, 0)
    own = info.slide_mpp or 0.0
    target = 10 / info.mpp if info.mpp else 0.0
    return {
        # CLAM: patches are cut from level 0, `patch_size` in its pixels.
        "patch_size": info.size_px0,
        "patch_level": 0,
        "downsample": np.ones(2),
        "downsampled_level_dim": np.array([width, height]),
        "level_dim": np.array([width, height]),
        "save_path": folder,
        "name": info.slide_id,
        # TRIDENT.
        "patch_size_level0": info.size_px0,
        "level0_magnification": round(10 / own) if own else 0,
        "target_magnification": round(target),
        "overlap": info.overlap_px,
        "savetodir": folder,
        "level0_width": width,
        "level0_height": height,
    }


class FeatureFile:
    """A slide's features, read where they lie.

    Only the rows that are asked for are read, so that the largest slide costs no
    memory until it is used. It stands for an array of shape `shape`.

    Args:
        path: The file.
        dataset: Name of the features in it.

    Raises:
        ManifestError: It is missing, cut short, or holds no features.
    """

    def __init__(self, path: Path, dataset: str = "features") -> None:
        self.path = Path(path)
        try:
            self._file: Any = h5py.File(path, "r")
        except OSError as error:
            raise ManifestError(
                f"{path}: not an HDF5 file of features, or cut short ({error}); embed "
                "the slide again"
            ) from error
        found = self._file.get(dataset)
        if not isinstance(found, h5py.Dataset):
            names = ", ".join(self._file) or "nothing"
            self._file.close()
            raise ManifestError(f"{path}: holds no '{dataset}', but {names}")
        self._features = found
        # TRIDENT and others keep (1, tiles, dimension).
        self._is_nested = found.ndim == 3 and found.shape[0] == 1
        self.shape: tuple[int, ...] = tuple(found.shape[self._is_nested :])
        self.dtype = found.dtype
        if len(self.shape) != 2:
            self._file.close()
            raise ManifestError(
                f"{path}: features must be (tiles, dimension), got {self.shape}"
            )

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the file, the features and the coordinates, in this order."""
        found = dict(self._file.attrs)
        for name in ("features", "feats", "coords"):
            if name in self._file:
                found |= dict(self._file[name].attrs)
        return found

    def read_dataset(self, name: str) -> npt.NDArray[Any] | None:
        """Read another data set whole; None where there is none."""
        found = self._file.get(name)
        return np.asarray(found[()]) if isinstance(found, h5py.Dataset) else None

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        try:
            part = self._features[0, rows] if self._is_nested else self._features[rows]
        except OSError as error:
            raise ManifestError(
                f"{self.path}: its features cannot be read ({error}); the file is "
                "damaged or cut short; embed the slide again"
            ) from error
        return np.asarray(part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_key(path: Path) -> str | None:
    """Return the hash that a file's features were made under; None without one."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs["key"]) if "key" in file.attrs else None
    except OSError:
        return None
