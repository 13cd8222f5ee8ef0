"""Whose tiles an encoder has learnt from, and whether they are met again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.cohorts import say_examples
from eosin.core import read_json

LEARNT = "The features' encoder was fine-tuned or chosen on"
"""How the caution begins."""

_NOTE = "encoder_learnt_from"


def find_learnt(run: Path) -> dict[str, Any]:
    """List whom the encoder of a run of `eosin train` was fine-tuned or chosen on.

    Args:
        run: Its folder, of one model.

    Returns:
        `run`, `patients` and `slides`, those of training and validation. Empty where
        the encoder was frozen, as it then learnt nothing, and where the run does not
        say what it was.
    """
    record, splits = Path(run) / "run.json", Path(run) / "splits.csv"
    if not record.is_file() or not splits.is_file():
        return {}
    if find_depth(read_json(record).get("settings", {})) == "none":
        return {}
    table = pd.read_csv(splits, dtype=str, keep_default_na=False)
    own = table[table["split"].isin(("train", "val"))]
    return {
        "run": str(Path(run).resolve()),
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
    """Say how many of a study's patients the encoder of its features learnt from.

    Args:
        features: Folder of feature files; `eosin embed` notes there whom its encoder
            learnt from.
        slides: `slide_id` and `patient_id` of the study.

    Returns:
        One sentence, or none.
    """
    record = Path(features) / "run.json"
    notes = read_json(record).get("notes", {}) if record.is_file() else {}
    if not (learnt := notes.get(_NOTE)):
        return ()
    patients = slides["patient_id"].astype(str)
    is_known = patients.isin(learnt["patients"]) | slides["slide_id"].astype(str).isin(
        learnt["slides"]
    )
    known = sorted(set(patients[is_known]))
    if not known:
        return ()
    return (
        f"{LEARNT} {len(known):,} of these {patients.nunique():,} patients "
        f"({say_examples(known)}), by the labels of their tiles, in {learnt['run']}: "
        "where they are held out, the numbers are too good. Take an encoder that has "
        "not seen them.",
    )
