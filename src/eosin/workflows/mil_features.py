"""What a folder of features says of the encoder and the tiles behind it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eosin.bags import FeatureFile, find_feature_files
from eosin.core import (
    ManifestError,
    ModelError,
    fingerprint_file,
    hash_object,
    read_json,
)
from eosin.workflows.run_checks import MPP_TOLERANCE

# What must not differ between the features of a model and new ones, and how far.
_ENCODER = "encoder"
_MPP = "mpp"


def describe_features(folder: Path) -> dict[str, Any]:
    """Say what a folder's features were made from, by its first file.

    Returns:
        `encoder`, `mpp` and `tile_px` of what the encoder was shown, as far as the
        files say it: those of `eosin embed` say it all, TRIDENT's the encoder.
    """
    path = next(iter(find_feature_files(folder).values()))
    return describe_file(path)


def describe_file(path: Path) -> dict[str, Any]:
    """Say what one file's features were made from; see `describe_features`."""
    if path.suffix == ".pt":
        return {}
    try:
        known = read_attributes(path)
    except ManifestError:
        return {}
    found: dict[str, Any] = {}
    if _ENCODER in known:
        found[_ENCODER] = str(known[_ENCODER])
    for name in (_MPP, "tile_px"):
        if name in known and np.isfinite(known[name]):
            found[name] = float(known[name])
    return found


def hash_features(folder: Path) -> str:
    """Hash which feature files a folder has, and what is in them.

    Of large files only the size and both ends are looked at.
    """
    files = find_feature_files(folder)
    return hash_object({name: fingerprint_file(p) for name, p in files.items()})


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Read the attributes of a feature file, whatever it calls its features.

    Raises:
        ManifestError: It cannot be read.
    """
    for name in ("features", "feats"):
        try:
            return FeatureFile(path, name).attributes
        except ManifestError as error:
            problem = error
    raise problem


def require_same_origin(known: Mapping[str, Any], path: Path, *, model: Path) -> None:
    """Stop where features were made in another way than those of the training.

    What either side does not say is not compared.

    Args:
        known: From `describe_features`, of the training.
        path: One of the new files.
        model: The run, for the message.

    Raises:
        ModelError: The encoder is another one, or the resolution is off by more
            than 10 %.
    """
    new = describe_file(path)
    problems = []
    then, now = known.get(_ENCODER), new.get(_ENCODER)
    if then and now and then != now:
        problems.append(f"the encoder {then}, these are of {now}")
    then, now = known.get(_MPP), new.get(_MPP)
    if then and now and abs(now / then - 1) > MPP_TOLERANCE:
        problems.append(f"tiles at {then:g} micrometres per pixel, these at {now:g}")
    if problems:
        raise ModelError(
            f"{path}: {model} was trained on features of {'; '.join(problems)}; embed "
            "the slides as the training's were"
        )


def find_tile_folder(features: Path) -> Path | None:
    """Return the tile folder that `eosin embed` made features from, if it says so."""
    record = Path(features) / "run.json"
    if not record.is_file():
        return None
    found = read_json(record).get("notes", {}).get("tiles")
    return Path(found) if found else None
