"""Feature files as other tools lay them out, told apart by what is in them.

| tool | file | features | coords |
|---|---|---|---|
| CLAM | `h5_files/<slide>.h5` | `features` | `(tiles, 2)`, pixels |
| CLAM, TRIDENT | `pt_files/<slide>.pt` | a tensor | none |
| TRIDENT | `features_<encoder>/<slide>.h5` | `features` | `(tiles, 2)`, pixels |
| STAMP | `<slide>.h5` | `feats` | `(tiles, 2)`, micrometres |
| AtlasPatch | `patches/<slide>.h5` | `features/<encoder>` | `(tiles, 5)`, pixels |

All pixels are of level 0.

Three of them also write one vector of a whole slide, which is no bag of one tile and
is refused: TRIDENT a vector `features` beside the coords of all tiles
(`slide_features_<encoder>/`), STAMP `feats` without coords (`feat_type` is `slide` or
`patient`; its first versions put all slides in one file), AtlasPatch `slide_features`.

Sources: mahmoodlab/CLAM `extract_features_fp.py`, mahmoodlab/TRIDENT `trident/IO.py`
and `trident/wsi_objects/WSI.py`, KatherLab/STAMP `stamp/modeling/data.py` and
`stamp/encoding/encoder/__init__.py`, AtlasAnalyticsLab/AtlasPatch `README.md`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags.bag import FeatureArray
from eosin.bags.features import FeatureFile, open_feature_file, read_number
from eosin.bags.tensor_files import open_tensor_file
from eosin.core import ManifestError, match_file_name
from eosin.core.hdf5 import HDF5File

# What eosin calls the names of tiles.
_NAMES = "tile_id"
_SLIDE_SIZE = ("level0_width", "level0_height")
_SUFFIXES = ("*.h5", "*.pt")
# In this order; the last has only places in it where another tool wrote it.
_SUBFOLDERS = ("h5_files", "features", "pt_files", "patches")
# STAMP's first versions: tiles of 256 um shown as 224 px, places in such pixels.
_OLD_STAMP_UM_PER_PX = 256 / 224
# What to give in place of one vector per slide.
_TRIDENT_TILES = (
    "TRIDENT's tile features, features_<patch encoder>/<slide>.h5, which stand beside "
    "slide_features_<slide encoder>"
)
_STAMP_TILES = (
    "the tile features that STAMP encoded (its feat_dir: <slide>.h5 with feats and "
    "coords)"
)
_ATLASPATCH_TILES = "a file with AtlasPatch's tile features, group features/<encoder>"


@dataclass(frozen=True, eq=False)
class SlideFeatures:
    """One slide's features, whoever wrote them.

    Attributes:
        features: `(tiles, dimension)`, left in the file.
        coords: `(tiles, 2)`, top-left corners in level-0 pixels; None without any.
    """

    features: FeatureArray
    coords: npt.NDArray[np.int64] | None

    @property
    def tile_ids(self) -> npt.NDArray[Any] | None:
        """Name of each tile in the tile table; None in files of other tools."""
        if isinstance(self.features, FeatureFile):
            return self.features.read_dataset(_NAMES)
        return None


def find_feature_files(folder: Path, *, encoder: str | None = None) -> dict[str, Path]:
    """List a folder's feature files by what `to_file_name` makes of their slides' ids.

    Args:
        folder: Holds the files, or is the folder above as CLAM, TRIDENT or AtlasPatch
            make it.
        encoder: Which of TRIDENT's `features_<encoder>`, where there are several.

    Raises:
        ManifestError: There is none, or there are those of several encoders.
    """
    folder = Path(folder)
    for place in _iter_places(folder, encoder):
        for suffix in _SUFFIXES:
            # Hidden ones are what a killed run left.
            files = [f for f in sorted(place.glob(suffix)) if f.name[0] != "."]
            if files and (place.name != "patches" or _has_features(files[0])):
                # Under the name that eosin gives, as other tools forbid less.
                return {match_file_name(f.stem): f for f in files}
    whole = [p.name for p in sorted(folder.glob("slide_features_*")) if p.is_dir()]
    if whole:
        raise ManifestError(
            f"{folder}: holds {', '.join(whole)}, one vector for each slide, but bags "
            f"are made of tiles' features; give {_TRIDENT_TILES}"
        )
    raise ManifestError(
        f"{folder}: no feature file (<slide_id>.h5 or .pt) in it, nor in "
        f"{', '.join(_SUBFOLDERS)} or features_*; make them with 'eosin embed'"
    )


def open_features(
    path: Path, *, slide_mpp: float | None = None, encoder: str | None = None
) -> SlideFeatures:
    """Open one slide's features, of any of the known layouts.

    Args:
        path: The file.
        slide_mpp: Micrometres per level-0 pixel; needed for coordinates of files
            that hold micrometres (STAMP).
        encoder: Which features, where a file has those of several (AtlasPatch).

    Raises:
        ManifestError: The file is damaged or of another kind (such as one vector of
            the whole slide), its lengths differ, or its coordinates cannot be turned
            into pixels.
    """
    path = Path(path)
    if path.suffix == ".pt":
        return SlideFeatures(open_tensor_file(path), None)
    with open_feature_file(path) as file:
        wanted = _find_wanted_instead(file)
        if wanted:
            raise ManifestError(
                f"{path}: holds one vector of a whole slide or patient, but bags are "
                f"made of tiles' features; give {wanted}"
            )
        dataset = find_dataset(file, path, encoder)
        # Tiles that have names lie where their table says.
        are_named = file.find(_NAMES, is_checked=True) is not None
        told = file.read_attributes("coords", *_SLIDE_SIZE)
    features = FeatureFile(path, dataset)
    coords = _read_coords(
        features, slide_mpp, has_micrometres=dataset == "feats", may_repeat=are_named
    )
    if coords is not None:
        _require_inside(coords, told, path)
    return SlideFeatures(features, coords)


def _iter_places(folder: Path, encoder: str | None) -> Iterator[Path]:
    """Name the folders that may hold the files, the likeliest first."""
    yield folder
    yield folder / "h5_files"
    yield from _find_encoders(folder, encoder)
    for name in _SUBFOLDERS[1:]:
        yield folder / name


def _find_encoders(folder: Path, encoder: str | None) -> list[Path]:
    """Find TRIDENT's folder of one encoder; none at all is no error."""
    places = [p for p in sorted(folder.glob("features_*")) if p.is_dir()]
    if encoder is not None:
        places = [p for p in places if p.name == f"features_{encoder}"]
    if len(places) > 1:
        names = ", ".join(p.name.removeprefix("features_") for p in places)
        raise ManifestError(
            f"{folder}: holds features of {names}; name one of them, or its folder"
        )
    return places


def _has_features(path: Path) -> bool:
    """Whether a file of places holds features besides, as AtlasPatch's do."""
    with open_feature_file(path) as file:
        return not {"features", "feats"}.isdisjoint(file.names)


def _find_wanted_instead(file: HDF5File) -> str | None:
    """Say what to give instead of a file of one slide vector; None for tiles' files."""
    attributes = file.read_attributes("/", "feat_type", "encoder", "precision")
    if str(attributes.get("feat_type", "tile")) != "tile":
        return _STAMP_TILES
    is_stamp = "feats" in file.names
    data = file.find("feats" if is_stamp else "features", is_checked=True)
    coords = file.find("coords", is_checked=True)
    if data is None:
        if "slide_features" in file.names:
            return _ATLASPATCH_TILES
        # STAMP's first: a data set for each slide, called as the slide is.
        return _STAMP_TILES if {"encoder", "precision"} <= set(attributes) else None
    if not isinstance(data, h5py.Dataset):
        return None
    # All tiles' files of STAMP have coords; a slide of one tile has one place.
    has_own_place = not is_stamp if coords is None else _count_rows(coords) == 1
    if data.ndim == 1 or (_count_rows(data) == 1 and not has_own_place):
        return _STAMP_TILES if is_stamp else _TRIDENT_TILES
    return None


def _count_rows(data: Any) -> int:
    return math.prod(data.shape[:-1])


def find_dataset(file: HDF5File, path: Path, encoder: str | None) -> str:
    """Find what a file calls its features."""
    if "feats" in file.names:
        return "feats"
    group = file.find("features", is_checked=True)
    if not isinstance(group, h5py.Group):
        return "features"
    # What AtlasPatch had not finished writing has a name of its own.
    names = [name for name in group if not name.startswith("__tmp_")]
    wanted = names[0] if encoder is None and len(names) == 1 else encoder
    if wanted in names:
        return f"features/{wanted}"
    raise ManifestError(
        f"{path}: holds features of {', '.join(names) or 'no encoder'}; name one of "
        "them"
    )


def _read_coords(
    file: FeatureFile,
    slide_mpp: float | None,
    *,
    has_micrometres: bool,
    may_repeat: bool,
) -> npt.NDArray[np.int64] | None:
    """Read coordinates as level-0 pixels; None where the file has none."""
    coords = file.read_dataset("coords")
    if coords is None:
        return None
    is_wide = coords.ndim == 2 and coords.shape[1] in (2, 5)
    if not is_wide or coords.dtype.kind not in "fiu":
        raise ManifestError(
            f"{file.path}: coords must be numbers (tiles, 2), got {coords.dtype} "
            f"{coords.shape}"
        )
    # AtlasPatch: x, y in level-0 pixels, then width, height and level of reading.
    places = coords[:, :2].astype(np.float64)
    if not np.isfinite(places).all():
        raise ManifestError(f"{file.path}: coords must be finite; the file is damaged")
    repeats = pd.DataFrame(coords).duplicated().to_numpy()
    if repeats.any() and not may_repeat:
        place = ", ".join(f"{value:g}" for value in coords[repeats.argmax(), :2])
        raise ManifestError(
            f"{file.path}: each tile must stand in it once, and {repeats.sum():,} of "
            f"{len(coords):,} stand where another one does, such as at ({place}); they "
            "would count twice; embed the slide again"
        )
    if has_micrometres:
        places *= _find_scale(file, places)
        if slide_mpp is None:
            raise ManifestError(
                f"{file.path}: its coords are in micrometres, so the slide's mpp is "
                "needed; give it in the column 'mpp' of the slide table"
            )
        places /= slide_mpp
    return np.rint(places).astype(np.int64)


def _require_inside(
    coords: npt.NDArray[np.int64], told: Mapping[str, Any], path: Path
) -> None:
    """Stop where tiles lie off the slide, whose size a file may tell."""
    size = [read_number(told, name, path) or np.inf for name in _SLIDE_SIZE]
    is_off = ((coords < 0) | (coords >= size)).any(axis=1)
    if is_off.any():
        x, y = coords[is_off.argmax()]
        frame = "" if np.inf in size else f" of {size[0]:g} x {size[1]:g} px"
        raise ManifestError(
            f"{path}: {is_off.sum():,} of {len(coords):,} tiles lie off the slide"
            f"{frame}, such as at ({x}, {y}); their places are not level-0 pixels of "
            "this slide; embed the slide again"
        )


def _find_scale(file: FeatureFile, places: npt.NDArray[np.float64]) -> float:
    """Return micrometres per unit of STAMP's coordinates."""
    attributes = file.attributes
    if attributes.get("unit") == "um" or "tile_size_um" in attributes:
        return 1.0
    steps = np.diff(np.unique(places[:, 0]))
    if len(steps) and round(float(steps.min())) == 224:
        return _OLD_STAMP_UM_PER_PX
    raise ManifestError(
        f"{file.path}: does not say what its coords are measured in; make the file "
        "again with a newer version of STAMP"
    )
