"""What feature files say of their origin: encoder, resolution, tiles, by any tool.

| tool | encoder | resolution | tile |
|---|---|---|---|
| eosin | `encoder` | `mpp` | `tile_px` |
| TRIDENT, AtlasPatch | `encoder` or the group | `target_magnification` | `patch_size` |
| CLAM | - | `patch_level` of the slide's | `patch_size` |
| others | `model`, `model_name`, `encoder_name` or `backbone` | - | - |
| STAMP | `extractor` | `tile_size_um / tile_size_px` | `tile_size_px` |
| Slideflow | `extractor` of `bags_config.json` | `tile_um / tile_px` | `tile_px` |

Sources: as in `dialects`; slideflow/slideflow `model/features.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eosin.bags.dialects import find_dataset
from eosin.bags.features import open_feature_file, read_number
from eosin.core import ManifestError, raising, read_json

_CONFIG = "bags_config.json"
_TEXTS = ("encoder", "encoder_sha256", "licence", "tissue", "slide_fingerprint")
_WHOLE = ("tile_px", "overlap_px", "views", "size_px0")
_NUMBERS = ("mpp", "context", "min_tissue", *_WHOLE)
_LEVEL = "patch_level"
_THEIRS = {
    **dict.fromkeys(("backbone", "model", "model_name", "encoder_name"), "encoder"),
    "extractor": "encoder",
    "patch_size": "tile_px",
    "tile_size_px": "tile_px",
    "patch_size_level0": "size_px0",
}
# Micrometres per pixel at a magnification of 1: 20x is 0.5.
_UM_AT_1X = 10.0


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Read the attributes of a feature file, whatever it calls its features.

    Those of the file, of the features and of the coordinates, in this order.
    """
    with open_feature_file(path) as file:
        dataset = find_dataset(file, path, None)
        return {
            key: value
            for name in ("/", dataset, "coords")
            for key, value in file.read_attributes(name).items()
        }


def read_provenance(path: Path) -> dict[str, Any]:
    """Read what one slide's features were made from, as far as anything says it.

    Texts `encoder`, `encoder_sha256`, `licence`, `tissue` and `slide_fingerprint`;
    numbers `mpp` (of a tile as it was shown), `context`, `min_tissue`, `tile_px`,
    `overlap_px`, `views`, `size_px0` (a tile's side in level-0 pixels) and
    `patch_level` (the slide's level that it was read from).

    Raises:
        ManifestError: The file is damaged, or says what cannot be, such as an mpp of 0.
    """
    path = Path(path)
    if path.suffix == ".pt":
        return _keep(_read_config(path.parent / _CONFIG), path)
    with open_feature_file(path) as file:
        dataset = find_dataset(file, path, None)
    given = read_attributes(path)
    told = {name: given[name] for name in (*_TEXTS, *_NUMBERS) if name in given}
    # eosin's own files hold what CLAM and TRIDENT look for, of level 0.
    if "format" not in given:
        told = _translate(given, dataset, path) | told
    is_level = isinstance(given.get(_LEVEL), int) and "mpp" not in told
    return _keep(told, path) | ({_LEVEL: given[_LEVEL]} if is_level else {})


def _keep(told: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Keep what is said, as text or as numbers."""
    kept: dict[str, Any] = {}
    for name, value in told.items():
        if name in _TEXTS:
            kept |= {name: str(value)} if str(value) else {}
        elif name not in ("overlap_px", "min_tissue") or value != 0:
            number = read_number(told, name, path)
            if number is not None:
                kept[name] = round(number) if name in _WHOLE else number
    return kept


def _translate(given: Mapping[str, Any], dataset: str, path: Path) -> dict[str, Any]:
    """Say in eosin's words what TRIDENT, AtlasPatch, CLAM and STAMP say in theirs."""
    told: dict[str, Any] = {}
    if "/" in dataset:
        told["encoder"] = dataset.partition("/")[2]
    for theirs, ours in _THEIRS.items():
        if theirs in given:
            told[ours] = given[theirs]
    return told | _find_mpp(
        given.get("tile_size_um"),
        told.get("tile_px"),
        given.get("target_magnification"),
        path,
    )


def _find_mpp(um: Any, px: Any, magnification: Any, path: Path) -> dict[str, float]:
    """Compute micrometres per pixel from a tile's side, or from a magnification."""
    with raising(ManifestError, f"{path}: says a size that is no number"):
        if um is not None and px is not None:
            return {"mpp": float(um) / float(px)}
        if magnification is not None:
            power = str(magnification).strip().lower().removesuffix("x")
            return {"mpp": _UM_AT_1X / float(power)}
    return {}


def _read_config(path: Path) -> dict[str, Any]:
    """Read what Slideflow notes beside its tensors; nothing where there is none."""
    if not path.is_file():
        return {}
    remedy = "it must be as Slideflow wrote it; else take it away"
    failure = f"{path}: cannot be read as Slideflow's settings"
    with raising(ManifestError, failure, remedy=remedy):
        content = read_json(path, object, remedy=remedy)
        um, px = content["tile_um"], content["tile_px"]
        is_power = isinstance(um, str) and um.lower().endswith("x")
        size, power = (None, um) if is_power else (um, None)
        mpp = _find_mpp(size, px, power, path)
        name = str(content["extractor"]["class"]).rpartition(".")[2]
        return {"encoder": name, "tile_px": px, **mpp}
