"""Features of tiles, found for the rows of a tile table."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags.dialects import SlideFeatures, find_feature_files, open_features
from eosin.bags.joined_features import JoinedFeatures
from eosin.bags.provenance import read_provenance
from eosin.core import ManifestError, raising, to_file_name
from eosin.tiles import FINGERPRINT, TileFolder

Features = npt.NDArray[np.float32]

# Of a patch data set, whose patches lie on no slide, all features are in one file.
_PATCHES_FILE = "patches"
_BLOCK_ROWS = 4096
# Slides are rarely scanned at exactly the resolution that their makers name.
_TOLERANCE = 0.1


def read_tile_features(
    path: Path,
    tiles: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    *,
    folder: TileFolder | None = None,
) -> Features:
    """Read the features of some tiles, `(rows, features)`.

    Args:
        path: A folder of the slides' features, or a NumPy file with one row for each
            row of the tile table. In files that do not name their tiles (of other
            tools) these are found by their places.
        tiles: The whole tile table.
        rows: Which of its rows are wanted.
        folder: Where the table is from. Features that say that they were made from
            tiles of another size or resolution, or of another slide, are refused.

    Raises:
        ManifestError: The features are missing, damaged, or not of these tiles.
    """
    path = Path(path)
    if path.is_dir():
        features = _read_folder(path, tiles.iloc[rows], folder)
    else:
        features = np.asarray(_map_array(path, len(tiles))[rows], np.float32)
    if not np.isfinite(features).all():
        raise ManifestError(f"{path}: features must be finite; embed the tiles again")
    return features


def _read_folder(
    place: Path, tiles: pd.DataFrame, folder: TileFolder | None
) -> Features:
    files = find_feature_files(place)
    features: Features | None = None
    missing: list[str] = []
    slides = tiles["slide_id"].fillna("").astype(str)
    for slide_id, members in tiles.groupby(slides, sort=False).indices.items():
        places = np.asarray(members)
        path = files.get(to_file_name(str(slide_id))) or files.get(_PATCHES_FILE)
        wanted = tiles.iloc[places]
        if path is None:
            missing += wanted["tile_id"].tolist()
            continue
        found = open_features(path)
        if folder is not None:
            _require_made_of(path, wanted, folder)
        width = found.features.shape[1]
        if features is None:
            features = np.zeros((len(tiles), width), np.float32)
        if features.shape[1] != width:
            raise ManifestError(
                f"{path}: has {width} features per tile, others of its folder "
                f"{features.shape[1]}; embed all with one encoder"
            )
        rows = _find_rows(found, wanted, path)
        missing += wanted["tile_id"][np.isnan(rows)].tolist()
        targets = places[~np.isnan(rows)]
        rows = rows[~np.isnan(rows)].astype(np.int64)
        joined = JoinedFeatures([found.features])
        # No more than a block is in memory twice.
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            features[targets[block]] = joined[rows[block]]
    if features is None or missing:
        raise ManifestError(
            f"{place}: {len(missing):,} of {len(tiles):,} tiles have no features, "
            f"such as {', '.join(missing[:3])}; embed the folder that they are from"
        )
    return features


def _require_made_of(path: Path, tiles: pd.DataFrame, folder: TileFolder) -> None:
    """Stop where features were made from other tiles, though places are the same."""
    told, info, row = read_provenance(path), folder.info, tiles.iloc[0]
    slide = folder.slides[folder.slides["slide_id"] == row["slide_id"]]
    now = {
        "size_px0": float(row["size_px0"]),
        # As the encoder was shown a tile and what is around.
        "mpp": info.mpp * info.context if info.mpp else None,
    }
    problems = [
        f"{name} {told[name]:g}, these have {value:g}"
        for name, value in now.items()
        if value and told.get(name) and abs(told[name] / value - 1) > _TOLERANCE
    ]
    known = [told.get(FINGERPRINT, ""), *slide[FINGERPRINT].iloc[:1]]
    if all(known) and len(set(known)) > 1:
        problems.append("a slide that was replaced since then")
    if problems:
        raise ManifestError(
            f"{path}: its features were made from tiles of {'; '.join(problems)}; "
            f"embed {folder.path} anew"
        )


def _map_array(path: Path, n_tiles: int) -> npt.NDArray[np.floating]:
    failure = f"{path}: features must be a folder of 'eosin embed' or a NumPy file"
    with raising(ManifestError, failure):
        # Only the array itself: of an .npz, a zip, every part may hide gigabytes.
        features = np.lib.format.open_memmap(path, mode="r")
    if features.dtype.kind not in "fiu":
        raise ManifestError(
            f"{path}: features must be real numbers, got {features.dtype}"
        )
    if features.ndim != 2 or len(features) != n_tiles:
        raise ManifestError(
            f"{path}: features must have one row for each of the {n_tiles:,} tiles, "
            f"got an array of shape {features.shape}"
        )
    return features


def _find_rows(
    found: SlideFeatures, tiles: pd.DataFrame, path: Path
) -> npt.NDArray[np.float64]:
    """Find the row of each tile in a file, by its name or its place; NaN for none.

    Patches have no place that tells them apart.
    """
    if found.tile_ids is not None:
        index, wanted = pd.Index(found.tile_ids), pd.Index(tiles["tile_id"].astype(str))
    elif found.coords is not None and "source" not in tiles:
        index = pd.MultiIndex.from_arrays([found.coords[:, 0], found.coords[:, 1]])
        wanted = pd.MultiIndex.from_frame(tiles[["x_px0", "y_px0"]])
    else:
        raise ManifestError(
            f"{path}: names neither its tiles nor their places (coords), so that they "
            "cannot be found in it; use the .h5 file, or embed the tiles again"
        )
    rows = pd.Series(np.arange(len(index), dtype=np.float64), index=index)
    return np.asarray(rows[~index.duplicated()].reindex(wanted), np.float64)
