"""What comes next after each step, by what was done."""

import shlex
from pathlib import Path

from eosin.runs.card import Card
from eosin.tiles import TileFolder


def after_tiles(folder: Path, n_classes: int) -> str:
    """Say what is made of tiles; of one class they teach nothing, slides may.

    Args:
        folder: The tile folder.
        n_classes: Classes that its tiles are labelled with.
    """
    unit = "" if n_classes > 1 else " --unit slide"
    return f"eosin train {folder} -o run/{unit}"


def after_features(features: Path, tiles: TileFolder) -> str:
    """Say what is made of features: a study of labelled slides, or of drawn bags."""
    if tiles.slide_labels is not None and not tiles.has_patches:
        names = " ".join(shlex.quote(name) for name in tiles.info.class_names)
        table = tiles.path / "slides.csv"
        return f"eosin train {features} --cohort {table} -o run/ --classes {names}"
    if tiles.tiles["label"].nunique() > 1:
        return f"eosin limit {features} {tiles.path} -o limit/"
    return "give slides or tiles labels; then eosin train, see docs/train.md"


def after_evaluation(run: Path, card: Card) -> str:
    """Say what a model is used on: what it was trained on, and new."""
    if card.training_data.get("are_patches"):
        return f"eosin predict {run} new_patches/ -o out/"
    if card.learner == "bags" and card.sees.encoder_sha256 is None:
        return f"eosin predict {run} new_features/ --cohort new_slides.csv -o out/"
    return f"eosin predict {run} new_slides/ -o out/"
