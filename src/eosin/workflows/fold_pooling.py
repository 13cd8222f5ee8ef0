"""What the folds of a run say together about their validation patients."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from eosin.evaluation import (
    build_tile_predictions,
    choose_on_validation,
    compute_probabilities,
    compute_roc_auc,
    fit_temperature,
    labels_of,
)
from eosin.workflows.fold_training import FoldResult
from eosin.workflows.tile_folder import TileFolder


def pool_validation(
    folder: TileFolder, results: Sequence[FoldResult]
) -> tuple[pd.DataFrame, float, tuple[str, ...]]:
    """Fit one temperature and average what several folds say of one tile.

    Returns:
        The prediction table of all validation tiles, the temperature, and why it
        deserves doubt, as sentences.
    """
    names = folder.info.class_names
    pooled = pd.concat(
        [r.validation.assign(position=range(len(r.validation))) for r in results],
        ignore_index=True,
    )
    logits = np.concatenate([r.validation_logits for r in results])
    is_labelled = pooled["label"].notna().to_numpy()
    fit = fit_temperature(logits[is_labelled], labels_of(pooled[is_labelled]))
    probabilities = compute_probabilities(logits, fit.temperature)
    mean = pd.DataFrame(probabilities).groupby(pooled["tile_id"].to_numpy()).mean()
    tiles = pooled.drop_duplicates("tile_id").assign(split="val")
    tiles = tiles.sort_values("tile_id", ignore_index=True)
    table = build_tile_predictions(tiles, mean.loc[tiles["tile_id"]].to_numpy(), names)
    cautions = (f"Temperature: {fit.caution}.",) if fit.caution else ()
    return table, fit.temperature, cautions


def choose_by_fold(
    folder: TileFolder, results: Sequence[FoldResult], rule: str
) -> tuple[dict[str, float | None], ...]:
    """Choose for each of several folds on its own validation patients alone.

    A fold's held-out patients validate in other folds, so that what all folds choose
    together has seen them.

    Returns:
        For each fold `temperature`, `tile_threshold`, `slide_threshold` and
        `aggregation_share`; nothing for a single fold.
    """
    if len(results) == 1:
        return ()
    chosen = []
    for result in results:
        validation, temperature, _ = pool_validation(folder, [result])
        choices = choose_on_validation(
            validation,
            class_names=folder.info.class_names,
            slide_labels=folder.slide_labels,
            rule=rule,
        )
        chosen.append(
            {
                "temperature": temperature,
                "tile_threshold": choices.threshold,
                "slide_threshold": choices.slide_threshold,
                "aggregation_share": choices.aggregation.aggregation.share,
            }
        )
    return tuple(chosen)


def find_validation_auc(result: FoldResult, class_names: Sequence[str]) -> float | None:
    """Return a fold's tile ROC AUC on validation; None where a class is absent."""
    tiles = result.validation
    is_labelled = tiles["label"].notna().to_numpy()
    labels = labels_of(tiles[is_labelled])
    if len(set(labels.tolist())) < len(class_names):
        return None
    probabilities = compute_probabilities(result.validation_logits[is_labelled])
    return float(compute_roc_auc(labels, probabilities))
