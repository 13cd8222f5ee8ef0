"""Mean colour alone, as a rival of a MIL model on the same patients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.bags import read_bag_table
from eosin.core import ManifestError, hash_file
from eosin.evaluation import (
    COLOUR_COLUMNS,
    EvaluationResult,
    aggregate_slides,
    choose_threshold,
    evaluate_predictions,
    fit_colour_baseline,
    labels_of,
    probabilities_of,
)
from eosin.workflows.mil_features import find_tile_folder
from eosin.workflows.mil_run import MILRun
from eosin.workflows.tile_folder import open_tile_folder


def evaluate_mean_colour(
    run: MILRun, options: Mapping[str, Any]
) -> EvaluationResult | None:
    """Score slides by the mean colour of their tiles, on the folds of a run.

    In each fold a logistic regression learns from the training slides' mean red,
    green and blue, and chooses its threshold on the fold's validation slides.

    Args:
        run: Its held-out bags are scored.
        options: `class_names`, `split`, `n_bootstrap` and `seed`, as for
            `evaluate_predictions`.

    Returns:
        The evaluation; None where the tile table is gone, holds no colours, or a
        fold's training slides are all of one class.
    """
    colours = find_slide_colours(run)
    if colours is None:
        return None
    names = run.class_names
    number = {name: index for index, name in enumerate(names)}
    parts: list[pd.DataFrame] = []
    thresholds: dict[str, float] = {}
    for _, fold in run.splits.groupby("fold"):
        slides = fold.merge(colours, left_on="bag_id", right_on="tile_id")
        slides["label"] = slides["label"].map(number)
        try:
            baseline = fit_colour_baseline(slides, class_names=names)
            scored = baseline.predict(slides[slides["split"] != "train"])
        except ManifestError:
            return None
        test = scored[scored["split"] == "test"]
        parts.append(test)
        if len(names) == 2:
            rows = scored[scored["split"] == "val"]
            choice = choose_threshold(
                labels_of(rows),
                probabilities_of(rows, names)[:, 1],
                rule=run.threshold_rule,
            )
            thresholds |= dict.fromkeys(test["patient_id"], choice.threshold)
    table = pd.concat(parts, ignore_index=True).assign(level="slide")
    return evaluate_predictions(
        aggregate_slides(table, class_names=names),
        threshold=None,
        slide_threshold=0.5 if thresholds else None,
        group_thresholds=(thresholds, {}) if thresholds else None,
        **options,
    )


def find_slide_colours(run: MILRun) -> pd.DataFrame | None:
    """Return the mean colour of each bag: `tile_id`, `slide_id` and the colours."""
    if run.takes_pixels:
        return _find_bag_colours(run)
    folder = None if run.features is None else find_tile_folder(run.features)
    if folder is None:
        return None
    try:
        tiles = open_tile_folder(folder).tiles
    except ManifestError:
        return None
    if not set(COLOUR_COLUMNS) <= set(tiles.columns):
        return None
    key = "slide_id" if run.per == "slide" else "patient_id"
    mean = tiles.groupby(tiles[key].astype(str))[list(COLOUR_COLUMNS)].mean()
    table = mean.reset_index(names="tile_id").assign(slide_id=mean.index)
    wanted = set(run.splits["bag_id"])
    return table if wanted <= set(table["tile_id"]) else None


def _find_bag_colours(run: MILRun) -> pd.DataFrame | None:
    """Return the mean colour of each drawn bag, where its table is still there."""
    path = run.record.get("notes", {}).get("bags")
    if path is None or run.tiles is None or not Path(path).is_file():
        return None
    if hash_file(Path(path)) != run.record["inputs"]["bags"]:
        return None
    try:
        bags, _ = read_bag_table(Path(path))
        folder = open_tile_folder(run.tiles)
    except ManifestError:
        return None
    if folder.sha256 != run.record["inputs"]["tiles"]:
        return None
    tiles = folder.tiles
    if not set(COLOUR_COLUMNS) <= set(tiles.columns):
        return None
    drawn = bags[["bag_id", "tile_id"]].merge(tiles, on="tile_id")
    mean = drawn.groupby("bag_id")[list(COLOUR_COLUMNS)].mean()
    return mean.reset_index(names="tile_id").assign(slide_id=mean.index)
