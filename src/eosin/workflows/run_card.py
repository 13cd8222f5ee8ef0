"""The card of a finished training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eosin.evaluation import ValidationChoices
from eosin.inference import ModelCard
from eosin.models import find_encoder
from eosin.workflows.recipes import describe_recipe
from eosin.workflows.tile_folder import TileFolder, read_tile_settings

if TYPE_CHECKING:
    from eosin.workflows.train_tiles import TrainConfig


def make_card(
    folder: TileFolder,
    splits: pd.DataFrame,
    config: "TrainConfig",
    choices: ValidationChoices,
    temperature: float,
    cautions: tuple[str, ...],
    fold_choices: tuple[Mapping[str, Any], ...] = (),
) -> ModelCard:
    """Describe a trained model.

    Args:
        folder: The tiles.
        splits: One row per fold and slide.
        config: How it was trained.
        choices: What was chosen on validation.
        temperature: What its logits are divided by.
        cautions: Why a choice deserves doubt.
        fold_choices: What each of several folds chose on its own.
    """
    spec = find_encoder(config.encoder)
    is_imagenet = config.weights == "imagenet"
    is_file = config.weights not in ("imagenet", "none")
    licence = spec.imagenet_licence if is_imagenet else None
    tiling = read_tile_settings(folder.path)
    in_train = splits[splits["split"] == "train"]
    return ModelCard(
        class_names=folder.info.class_names,
        encoder=config.encoder,
        weights=Path(config.weights).name if is_file else config.weights,
        encoder_licence=licence or ("as its file's owner states" if is_file else "own"),
        mpp=folder.info.mpp,
        tile_px=folder.info.tile_px,
        overlap_px=folder.info.overlap_px,
        context=folder.info.context,
        tissue=str(tiling.get("tissue", "saturation")),
        min_tissue=float(tiling.get("min_tissue", 0.25)),
        models=(
            ("model.onnx",)
            if config.folds == 1
            else tuple(f"fold_{fold}/model.onnx" for fold in range(config.folds))
        ),
        views=config.views,
        temperature=temperature,
        tile_threshold=choices.threshold,
        slide_threshold=choices.slide_threshold,
        aggregation_share=choices.aggregation.aggregation.share,
        threshold_rule=config.threshold_rule,
        cautions=cautions,
        fold_choices=fold_choices,
        training_data={
            "tiles_sha256": folder.sha256,
            "n_patients": int(in_train["patient_id"].nunique()),
            "n_slides": int(in_train["slide_id"].nunique()),
            "n_tiles": int(
                folder.tiles.loc[
                    folder.tiles["slide_id"].isin(set(in_train["slide_id"])), "label"
                ]
                .notna()
                .sum()
            ),
        },
        is_made_data=folder.is_made,
        recipe=describe_recipe(config),
    )
