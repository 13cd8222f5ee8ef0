"""Features of tiles, found for the rows of a tile table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import FeatureFile, find_feature_files
from eosin.core import ManifestError

_BLOCK_ROWS = 4096


def read_tile_features(
    path: Path, tiles: pd.DataFrame, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Read the features of some tiles.

    Args:
        path: A folder of `eosin embed`, or a NumPy file with one row for each row of
            the tile table.
        tiles: The whole tile table.
        rows: Which of its rows are wanted.

    Returns:
        `(rows, features)`.

    Raises:
        ManifestError: The features are missing, damaged, or not of these tiles.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, tiles["tile_id"].iloc[rows].astype(str).tolist())
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"{path}: features must be a folder of 'eosin embed' or a NumPy file "
            f"({error})"
        ) from error
    if features.ndim != 2 or len(features) != len(tiles):
        raise ManifestError(
            f"{path}: features must have one row for each of the {len(tiles):,} tiles, "
            f"got an array of shape {features.shape}"
        )
    return _require_finite(np.asarray(features[rows], np.float32), path)


def _read_folder(path: Path, tile_ids: Sequence[str]) -> npt.NDArray[np.float32]:
    wanted = pd.Series(np.arange(len(tile_ids)), index=list(tile_ids))
    found: npt.NDArray[np.float32] | None = None
    is_found = np.zeros(len(tile_ids), bool)
    for file_path in find_feature_files(path).values():
        with FeatureFile(file_path) as file:
            names = file.read_dataset("tile_id")
            if names is None or len(names) != file.shape[0]:
                raise ManifestError(
                    f"{file_path}: does not say which tiles its features are of; make "
                    "them with 'eosin embed'"
                )
            places = wanted.reindex(names.astype(str)).to_numpy(np.float64)
            if found is None:
                found = np.zeros((len(tile_ids), file.shape[1]), np.float32)
            if found.shape[1] != file.shape[1]:
                raise ManifestError(
                    f"{file_path}: has {file.shape[1]} features per tile, others of "
                    f"this folder {found.shape[1]}; they are of several encoders"
                )
            rows = np.flatnonzero(np.isfinite(places))
            for start in range(0, len(places), _BLOCK_ROWS):
                own = rows[(rows >= start) & (rows < start + _BLOCK_ROWS)]
                if len(own):
                    block = file[start : start + _BLOCK_ROWS]
                    found[places[own].astype(np.int64)] = block[own - start]
            is_found[places[rows].astype(np.int64)] = True
    if found is None or not is_found.all():
        missing = [name for name, ok in zip(tile_ids, is_found, strict=True) if not ok]
        raise ManifestError(
            f"{path}: has no features of {len(missing):,} of {len(tile_ids):,} tiles, "
            f"such as {', '.join(missing[:3])}; embed this tile folder again"
        )
    return _require_finite(found, path)


def _require_finite(
    features: npt.NDArray[np.float32], path: Path
) -> npt.NDArray[np.float32]:
    if not np.isfinite(features).all():
        raise ManifestError(f"{path}: features must be finite; embed the tiles again")
    return features
