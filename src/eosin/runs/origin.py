"""What tiles and features were made from, and whom their encoder has learnt from."""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from eosin.bags import find_feature_files, read_provenance
from eosin.cohorts import say_examples
from eosin.core import (
    ManifestError,
    fingerprint_file,
    hash_object,
    raising,
    read_record,
)
from eosin.runs.card import Sees
from eosin.runs.run import Run
from eosin.settings import TissueName
from eosin.tiles import TileFolder, read_tile_settings

LEARNT = "The features' encoder was fine-tuned or chosen on"
"""How the caution begins."""

_NOTE = "encoder_learnt_from"
# What feature files say of `Sees`.
_TOLD = (
    *("encoder", "encoder_sha256", "licence", "mpp", "context", "min_tissue"),
    *("tile_px", "overlap_px", "views", "patch_level"),
)
# What only some files may say, in words.
_COMPARED = {
    "encoder": "which encoder made them",
    "mpp": "of which resolution (mpp) their tiles are",
}
# Kinds of features in a message.
_SHOWN = 4


def see_tiles(folder: TileFolder) -> Sees:
    """Say what a tile folder shows, without an encoder."""
    info, cut = folder.info, read_tile_settings(folder.path)
    return Sees(
        mpp=info.mpp,
        tile_px=info.tile_px,
        overlap_px=info.overlap_px,
        context=info.context,
        tissue=cut.get("tissue", Sees.tissue),
        min_tissue=float(cut.get("min_tissue", Sees.min_tissue)),
    )


def see_features(path: Path) -> Sees:
    """Say what features were made from, as far as their file says it.

    Raises:
        ManifestError: The file is damaged, or says what cannot be.
    """
    told = read_provenance(path)
    sees = Sees(**{name: told[name] for name in _TOLD if name in told})
    if told.get("tissue") in get_args(TissueName):
        sees = replace(sees, tissue=told["tissue"])
    # The file says at which resolution the encoder saw a tile and what is around.
    return replace(sees, mpp=None if sees.mpp is None else sees.mpp / sees.context)


def require_alike(seen: Mapping[str, Sees], *, where: str) -> tuple[str, ...]:
    """Stop where the features of some slides were made otherwise than of others.

    `seen` has what `see_features` says of each slide. Gives cautions about slides of
    which nobody says what made them.
    """
    groups: dict[Sees, list[str]] = {}
    for slide_id, sees in seen.items():
        groups.setdefault(sees, []).append(slide_id)
    pairs = itertools.combinations(groups, 2)
    if any(one.find_differences(other) for one, other in pairs):
        largest = sorted(groups.items(), key=lambda item: -len(item[1]))[:_SHOWN]
        kinds = "; ".join(
            f"{len(names)} slides ({say_examples(names)}) have {sees.describe()}"
            for sees, names in largest
        )
        raise ManifestError(
            f"{where}: the features of all slides must be made alike, by one encoder "
            f"from tiles of one size and resolution, and they are not: {kinds}; embed "
            "all slides alike"
        )
    cautions = [_say_silent(seen, what, name) for name, what in _COMPARED.items()]
    levels = Counter(s.patch_level for s in seen.values() if s.patch_level is not None)
    if len(levels) > 1:
        shown = ", ".join(
            f"{n} of level {level}" for level, n in sorted(levels.items())
        )
        cautions.append(
            f"The features' tiles are of several levels of their slides ({shown}): "
            "unless the slides were scanned at as many magnifications, cells are of "
            "several sizes. Embed all slides at one mpp."
        )
    return tuple(filter(None, cautions))


def _say_silent(seen: Mapping[str, Sees], what: str, name: str) -> str:
    """Say of which slides' features one thing is not known, as it is of others'."""
    silent = [slide_id for slide_id, s in seen.items() if getattr(s, name) is None]
    if not 0 < len(silent) < len(seen):
        return ""
    return (
        f"The feature files of {len(silent)} of {len(seen)} slides "
        f"({say_examples(silent)}) do not say {what}, as others do: whether all were "
        "made alike is not known."
    )


def hash_features(folder: Path) -> str:
    """Hash a folder's feature files; of large ones their size and both ends."""
    files = find_feature_files(folder)
    hashes = {}
    for name, path in files.items():
        with raising(ManifestError, f"{path}: cannot be read"):
            hashes[name] = fingerprint_file(path)
    return hash_object(hashes)


def find_tile_folder(features: Path) -> Path | None:
    """Return the tile folder that features or bags were made from, if it is said."""
    place = _read_notes(features).get("tiles")
    return Path(place) if place else None


def _read_notes(folder: Path) -> Mapping[str, Any]:
    """Read what a command noted in its folder; nothing in those of other tools."""
    return dict(read_record(folder).get("notes", {}))


def find_learnt(run: Run) -> dict[str, Any]:
    """List whom the encoder of a tile classifier was fine-tuned or chosen on.

    The training's and the validation's `patients` and `slides`, and the `run`. Empty
    where the encoder was frozen, as it then learnt nothing.
    """
    if find_depth(run.record["settings"]) == "none":
        return {}
    own = run.splits[run.splits["split"].isin(("train", "val"))]
    return {
        "run": str(run.path.resolve()),
        "patients": sorted(set(own["patient_id"])),
        "slides": sorted(set(own["slide_id"])),
    }


def find_depth(settings: Mapping[str, Any]) -> str:
    """Say what a run trained beside the head, by its settings: none, last, ..."""
    depth = str(settings.get("fine_tune", "none"))
    if depth == "auto":
        return "all" if settings.get("weights") == "none" else "none"
    return depth


def note_learnt(learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Put what `find_learnt` gave among the notes of a folder of features."""
    return {_NOTE: dict(learnt)} if learnt else {}


def caution_learnt(features: Path, slides: pd.DataFrame) -> tuple[str, ...]:
    """Say how many patients of a study's `slides` the features' encoder learnt from.

    `eosin embed` notes them in the folder of features. One sentence, or none.
    """
    if not (learnt := _read_notes(features).get(_NOTE)):
        return ()
    patients = slides["patient_id"].astype(str)
    is_known = patients.isin(learnt["patients"])
    is_known |= slides["slide_id"].astype(str).isin(learnt["slides"])
    known = sorted(set(patients[is_known]))
    if not known:
        return ()
    return (
        f"{LEARNT} {len(known):,} of these {patients.nunique():,} patients "
        f"({say_examples(known)}), by the labels of their tiles, in {learnt['run']}: "
        "where they are held out, the numbers are too good. Take an encoder that has "
        "not seen them.",
    )
