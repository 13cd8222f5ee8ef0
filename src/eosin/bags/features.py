"""Features on disk: one HDF5 file per slide, which CLAM's and TRIDENT's tools read.

`features` is `(tiles, dimension)`, `coords` `(tiles, 2)` the tiles' top-left corners in
level-0 pixels. Both carry the attributes that CLAM (mahmoodlab/CLAM, `wsi_core`) and
TRIDENT (mahmoodlab/TRIDENT, `IO.py`) write and ask for.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from eosin.core import ManifestError, atomic_path, raising
from eosin.core.hdf5 import HDF5File, can_map, open_hdf5

# Features are gone through in blocks of so many numbers (16 MiB as float32).
_BLOCK_NUMBERS = 1 << 22
# No slide has as many tiles, nor a tile's place as many numbers.
_MOST_TILES, _MOST_PLACES = 1 << 24, 16
_SHOWN = 10
_FAILURE = "not an HDF5 file of features, or gone, damaged or cut short"
_REMEDY = "embed the slide again"


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
        context: Side of what the encoder was shown over the tile's own.
        tissue: The method that found tissue.
        min_tissue: Share of tissue that a tile needed.
        views: Turns and flips of each tile whose features were averaged.
        encoder_sha256: Hash of what the encoder computes; empty where it is not known.
        slide_size_px0: (width, height) of level 0; None where it is not known.
        slide_mpp: Micrometres per level-0 pixel; None where it is not known.
        licence: Terms of the encoder's weights; empty where they are not known.
        key: Hash of all that the features depend on.
        slide_fingerprint: What the slide was when its tiles were cut; empty where
            nobody noted it.
    """

    slide_id: str
    encoder: str
    licence: str = ""
    encoder_sha256: str = ""
    tile_px: int
    overlap_px: int = 0
    context: float = 1.0
    tissue: str = ""
    min_tissue: float = float("nan")
    views: int = 1
    mpp: float | None
    size_px0: int
    slide_mpp: float | None = None
    key: str = ""
    slide_size_px0: tuple[int, int] | None = None
    slide_fingerprint: str = ""


def write_features(
    path: Path,
    features: npt.NDArray[np.floating[Any]],
    coords: npt.NDArray[np.int64],
    info: FeatureInfo,
    *,
    tile_ids: Sequence[str] | None = None,
) -> None:
    """Write a slide's features, whole or not at all.

    They go through memory a block at a time, so that `features` may be a memory map
    of any length, and lie in the file in one piece, so that any of their rows can be
    read without the others.

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
    path = Path(path)
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise ManifestError(
            f"{path.name}: features (tiles, dimension) and coords (tiles, 2) of as many"
            f" tiles are needed, got {features.shape} and {coords.shape}"
        )
    if tile_ids is not None and len(tile_ids) != len(features):
        raise ManifestError(
            f"{path.name}: as many tile ids as features are needed, got "
            f"{len(tile_ids)} and {len(features)}"
        )
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _copy_features(file, features, path.name)
        places = file.create_dataset("coords", data=coords.astype(np.int64))
        owner = {"name": info.slide_id, "savetodir": str(path.parent)}
        file["features"].attrs.update({**owner, "encoder": info.encoder})
        places.attrs.update(_describe_places(info, str(path.parent)))
        if tile_ids is not None:
            text = h5py.string_dtype()
            file.create_dataset("tile_id", data=list(tile_ids), dtype=text)
        told = {"format": "eosin 1", **asdict(info)}
        del told["slide_size_px0"]
        file.attrs.update({k: np.nan if v is None else v for k, v in told.items()})


def _copy_features(
    file: Any, features: npt.NDArray[np.floating[Any]], name: str
) -> None:
    """Copy features into a file, blocks of bounded size, finite values only."""
    kept = np.float16 if features.dtype == np.float16 else np.float32
    data = file.create_dataset("features", features.shape, kept)
    step = max(1, _BLOCK_NUMBERS // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        # What float32 cannot hold becomes infinite, and is refused below.
        with np.errstate(over="ignore"):
            block = np.asarray(features[start : start + step]).astype(kept, copy=False)
        is_finite = np.isfinite(block)
        if not is_finite.all():
            row, column = np.argwhere(~is_finite)[0]
            raise ManifestError(
                f"{name}: features must be finite; tile {start + row} has "
                f"{block[row, column]} at {column}"
            )
        data[start : start + step] = block


def _describe_places(info: FeatureInfo, folder: str) -> dict[str, Any]:
    """Give the attributes that CLAM's and TRIDENT's readers look for.

    Both call something `patch_size`: CLAM the side at `patch_level`, TRIDENT that at
    `target_magnification`. Stated at level 0, it is the tile's true footprint to both;
    how finely the encoder saw it stands in the file's own attributes.
    """
    attributes = {
        "name": info.slide_id,
        "patch_size": info.size_px0,
        "patch_size_level0": info.size_px0,
        "patch_level": 0,
        "downsample": np.ones(2),
        "overlap": round(info.overlap_px * info.size_px0 / info.tile_px),
        "save_path": folder,
        "savetodir": folder,
    }
    if info.slide_size_px0 is not None:
        width, height = info.slide_size_px0
        size = np.array([width, height])
        attributes |= {"level_dim": size, "downsampled_level_dim": size}
        attributes |= {"level0_width": width, "level0_height": height}
    if info.slide_mpp:
        # An objective of power P means about 10 / P micrometres per pixel.
        power = round(10 / info.slide_mpp)
        attributes |= {"level0_magnification": power, "target_magnification": power}
    return attributes


class FeatureFile:
    """A slide's features, read where they lie.

    Only the rows that are asked for are read, and no file stays open but in a `with`
    block, so that there may be thousands. It stands for an array of shape `shape`.

    Raises:
        ManifestError: The file is missing, cut short, or holds no such features.
    """

    def __init__(self, path: Path, dataset: str = "features") -> None:
        self.path, self._name = Path(path), dataset
        # A map of the file, in a `with` block only: it holds the file open.
        self._map: npt.NDArray[Any] | None = None
        with open_feature_file(self.path) as file:
            found = file.find(dataset)
            if not isinstance(found, h5py.Dataset):
                names = ", ".join(file.names[:_SHOWN]) or "nothing"
                raise ManifestError(f"{path}: holds no '{dataset}', but {names}")
            # TRIDENT's older versions and others keep (1, tiles, dimension).
            self._is_nested = found.ndim == 3 and found.shape[0] == 1
            self.shape: tuple[int, ...] = tuple(found.shape[self._is_nested :])
            self.dtype = found.dtype
            # Where they lie in one piece; None where they lie in chunks.
            self._offset = found.id.get_offset() if can_map(found) else None
        if len(self.shape) != 2 or self.shape[0] > _MOST_TILES:
            raise ManifestError(
                f"{path}: features must be (tiles, dimension), of {_MOST_TILES:,} "
                f"tiles at most, got {self.shape}"
            )
        if self.dtype.kind not in "fiu":
            raise ManifestError(
                f"{path}: features must be real numbers, got {self.dtype}"
            )

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the file, the features and the coordinates, in this order."""
        with open_feature_file(self.path) as file:
            return file.read_attributes() | {
                key: value
                for name in (self._name, "coords")
                for key, value in file.read_attributes(name).items()
            }

    def read_dataset(self, name: str) -> npt.NDArray[Any] | None:
        """Read what another data set holds of each tile; None where there is none."""
        with open_feature_file(self.path) as file:
            found = file.find(name)
            if not isinstance(found, h5py.Dataset):
                return None
            is_nested = found.ndim == 3 and found.shape[0] == 1
            n, *others = found.shape[is_nested:] or (0,)
            if n != self.shape[0] or math.prod(others) > _MOST_PLACES:
                raise ManifestError(
                    f"{self.path}: as many {name} as features are needed, got "
                    f"{n:,} (of the shape {found.shape}) and {self.shape[0]:,}; the "
                    "file is damaged"
                )
            is_text = h5py.check_string_dtype(found.dtype) is not None
            values = np.asarray(found.asstr()[()] if is_text else found[()])
            return values[0] if is_nested else values

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        if self._offset is not None:
            # Forty times as fast for scattered rows as asking HDF5 for them.
            found = self._open_map() if self._map is None else self._map
            return np.asarray(found[rows])
        with open_feature_file(self.path) as file:
            data = file.find(self._name, is_checked=True)
            return np.asarray(data[0, rows] if self._is_nested else data[rows])

    def _open_map(self) -> npt.NDArray[Any]:
        with raising(ManifestError, f"{self.path}: {_FAILURE}", remedy=_REMEDY):
            return np.memmap(self.path, self.dtype, "r", self._offset or 0, self.shape)

    def __enter__(self) -> Self:
        self._map = None if self._offset is None else self._open_map()
        return self

    def __exit__(self, *_: object) -> None:
        self._map = None


def open_feature_file(path: Path) -> AbstractContextManager[HDF5File]:
    """Open an HDF5 file for reading, in a `with` block, or raise a `ManifestError`."""
    return open_hdf5(path, ManifestError, _FAILURE, remedy=_REMEDY)


def read_number(given: Mapping[str, Any], name: str, where: Path) -> float | None:
    """Take a positive number from what a file says; None where it says none.

    Raises:
        ManifestError: It is text, zero, negative or infinite.
    """
    value = given.get(name, math.nan)
    with raising(ManifestError, f"{where}: {name} must be a number, got {value!r}"):
        number = float(value)
    if math.isnan(number):
        return None
    if not 0 < number < math.inf:
        raise ManifestError(
            f"{where}: {name} must be a number above 0, got {number:g}; the file is "
            "damaged, or was made with wrong settings"
        )
    return number


def read_key(path: Path) -> str | None:
    """Return the hash that a file's features were made under; None without one."""
    if path.is_file():
        with suppress(ManifestError), open_feature_file(path) as file:
            key = file.read_attributes("/", "key").get("key")
            return None if key is None else str(key)
    return None
