"""From a tile table to a trained classifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from eosin.cohorts import fold_patients, split_patients
from eosin.core import (
    ConfigError,
    Progress,
    RunRecord,
    atomic_path,
    hash_file,
    open_run,
)
from eosin.evaluation import (
    ValidationChoices,
    build_tile_predictions,
    choose_on_validation,
    compute_probabilities,
    compute_roc_auc,
    fit_temperature,
    labels_of,
    write_predictions,
)
from eosin.inference import ModelCard, read_card
from eosin.models import find_encoder
from eosin.reports import draw_history, render_png
from eosin.training import FineTuneConfig, HeadConfig
from eosin.workflows.fold_training import FoldResult, FoldTrainer
from eosin.workflows.tile_folder import (
    TileFolder,
    open_tile_folder,
    read_tile_settings,
)

SPLIT_COLUMNS = ("fold", "slide_id", "patient_id", "label", "split")

_OUTPUTS = (
    "fold_*",
    "card.json",
    "history.csv",
    "history.png",
    "model.keras",
    "model.onnx",
    "run.json",
    "splits.csv",
    "state",
    "validation.parquet",
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained.

    Attributes:
        encoder: Name of the encoder.
        weights: `imagenet`, `none` (random), or the path of a weights file.
        fine_tune: What is trained beside the head: nothing, the encoder's last
            block, or all of it. `auto` is nothing for pretrained weights and all
            for random ones.
        folds: Folds of a cross-validation by patient; 1 is one split.
        val_fraction: Share of the patients that validate, 0 to 1.
        test_fraction: Share of the patients that are held out; with folds each
            patient is held out once and this is not used.
        cached_views: Turns and flips of each training tile that are encoded: 1, 2,
            4 or 8.
        stain_jitter: Strength of random staining in training, 0 for none; 0.2 is
            about the spread between laboratories.
        views: Turns and flips that prediction averages over: 1, 2, 4 or 8.
        epochs: Epochs of the head at most.
        learning_rate: Peak learning rate of the head.
        batch: Tiles per step of the head.
        dropout: Share of the features dropped in training, 0 to 1.
        weight_decay: Of AdamW; 0 is plain Adam.
        label_smoothing: Share of each label spread over all classes.
        balance: What is drawn equally often.
        schedule: How the learning rate goes.
        patience: Epochs without a better one before training stops.
        tune_epochs: Epochs of fine-tuning at most.
        tune_learning_rate: Peak learning rate of fine-tuning.
        tune_batch: Tiles per step of fine-tuning.
        threshold_rule: `youden`, `sensitivity@x` or `specificity@x`, applied to
            validation patients.
        device: Where the encoder runs: `auto`, `cpu` or `cuda`.
        seed: Seed of everything random.
    """

    encoder: str = "densenet121"
    weights: str = "imagenet"
    fine_tune: Literal["auto", "none", "last", "all"] = "auto"
    folds: int = 1
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    cached_views: Literal[8, 4, 2, 1] = 8
    stain_jitter: float = 0.0
    views: Literal[1, 2, 4, 8] = 1
    epochs: int = 20
    learning_rate: float = 1e-3
    batch: int = 128
    dropout: float = 0.5
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    balance: Literal["none", "class", "slide", "class_and_slide"] = "class_and_slide"
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    patience: int | None = 5
    tune_epochs: int = 8
    tune_learning_rate: float = 1e-4
    tune_batch: int = 32
    threshold_rule: str = "youden"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        find_encoder(self.encoder)
        if self.folds < 1:
            raise ConfigError(f"folds must be 1 or more, got {self.folds}")
        for name in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 0.5:
                raise ConfigError(
                    f"{name} must lie between 0 and 0.5, got {getattr(self, name):g}"
                )

    @property
    def depth(self) -> Literal["none", "last", "all"]:
        """What is trained beside the head."""
        if self.fine_tune != "auto":
            return self.fine_tune
        return "all" if self.weights == "none" else "none"

    @property
    def head(self) -> HeadConfig:
        """Settings of the frozen stage."""
        return HeadConfig(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch=self.batch,
            dropout=self.dropout,
            **self._shared(),
        )

    @property
    def tuning(self) -> FineTuneConfig:
        """Settings of fine-tuning."""
        return FineTuneConfig(
            depth="last" if self.depth == "last" else "all",
            batch_norm="trained" if self.weights == "none" else "frozen",
            epochs=self.tune_epochs,
            learning_rate=self.tune_learning_rate,
            batch=self.tune_batch,
            **self._shared(),
        )

    def _shared(self) -> dict[str, Any]:
        return {
            "schedule": self.schedule,
            "optimiser": "adamw" if self.weight_decay else "adam",
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
            "balance": self.balance,
            "patience": self.patience,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class TrainResult:
    """What `train_classifier` made.

    Attributes:
        folder: The run folder.
        card: The model's card.
        validation_aucs: Tile ROC AUC on validation patients, one per fold;
            None where a class is absent.
        warnings: What the user should know, as sentences.
    """

    folder: Path
    card: ModelCard
    validation_aucs: tuple[float | None, ...]
    warnings: tuple[str, ...]


def train_classifier(
    tiles: Path,
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a tile classifier on a folder of tiles, split by patient.

    Writes `model.keras`, `model.onnx` (per fold in `fold_<k>/` when there are
    several), `card.json`, `history.csv`, `history.png`, `splits.csv`,
    `validation.parquet` and `run.json`. Thresholds, the temperature and the slide
    score are chosen on validation patients. An interrupted call goes on where it
    stopped and ends with the same model.

    Args:
        tiles: Folder that `tile_cohort` wrote.
        config: How to train.
        out: The run folder.
        overwrite: Replace a run of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no finished tile folder.
        CohortError: The patients cannot be split.
        ConfigError: The settings contradict each other or the tiles.
        ModelError: Weights cannot be had, training diverged, or the exported model
            differs from the trained one.
        RunError: `out` holds another run or cannot be written.
    """
    progress = progress or Progress()
    folder = open_tile_folder(tiles)
    settings = asdict(config)
    inputs = {"tiles.parquet": folder.sha256}
    if config.weights not in ("imagenet", "none"):
        weights = Path(config.weights)
        if weights.is_file():
            inputs["weights"] = hash_file(weights)
    with open_run(
        out,
        "train",
        settings=settings,
        inputs=inputs,
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            record.notes["tiles"] = str(folder.path.resolve())
            splits = assign_splits(folder, config)
            with atomic_path(out / "splits.csv") as temporary:
                splits.to_csv(temporary, index=False)
            results = _train_folds(folder, splits, config, out, progress)
            _finish(folder, splits, config, results, record)
        return TrainResult(
            out,
            read_card(out),
            tuple(record.notes["validation_aucs"]),
            tuple(record.notes["warnings"]),
        )


def assign_splits(folder: TileFolder, config: TrainConfig) -> pd.DataFrame:
    """Give every slide its split in every fold, one row each.

    A slide without a label of its own has that of its tiles: the commonest positive
    class, or the negative one.

    Raises:
        CohortError: The patients cannot be split.
    """
    slides = folder.slides[["slide_id", "patient_id", "split"]].copy()
    slides["split"] = [None if pd.isna(s) else str(s) for s in slides["split"]]
    slides["split"] = (
        slides["split"].astype("object").where(slides["split"].notna(), None)
    )
    slides["label"] = _label_slides(folder)
    negative = folder.info.class_names[0]
    if config.folds == 1:
        fractions = (
            1 - config.val_fraction - config.test_fraction,
            config.val_fraction,
            config.test_fraction,
        )
        parts = [
            split_patients(
                slides, fractions=fractions, negative=negative, seed=config.seed
            )
        ]
    else:
        parts = fold_patients(
            slides,
            n_folds=config.folds,
            val_fraction=config.val_fraction,
            negative=negative,
            seed=config.seed,
        )
    rows = [slides.assign(fold=fold, split=part) for fold, part in enumerate(parts)]
    return pd.concat(rows, ignore_index=True)[list(SPLIT_COLUMNS)]


def _label_slides(folder: TileFolder) -> pd.Series:
    names = folder.info.class_names
    given = folder.slides["label"]
    labelled = folder.tiles[folder.tiles["label"].notna()]
    counts = pd.crosstab(labelled["slide_id"], labelled["label"])
    found: list[str | None] = []
    for slide_id, label in zip(folder.slides["slide_id"], given, strict=True):
        if isinstance(label, str) and label in names:
            found.append(label)
        elif slide_id in counts.index:
            own = counts.loc[slide_id]
            positive = own.drop(0, errors="ignore")
            best = int(positive.idxmax()) if positive.sum() > 0 else 0
            found.append(names[best])
        else:
            found.append(None)
    return pd.Series(found, index=folder.slides.index, dtype="object")


def _train_folds(
    folder: TileFolder,
    splits: pd.DataFrame,
    config: TrainConfig,
    out: Path,
    progress: Progress,
) -> list[FoldResult]:
    trainer = FoldTrainer(folder, splits, config, progress)
    results = []
    for fold in range(config.folds):
        place = out if config.folds == 1 else out / f"fold_{fold}"
        if config.folds > 1:
            progress.say(f"Fold {fold + 1} of {config.folds}")
        results.append(trainer.train(fold, place, out / "state" / f"fold_{fold}"))
    return results


def _finish(
    folder: TileFolder,
    splits: pd.DataFrame,
    config: TrainConfig,
    results: Sequence[FoldResult],
    record: RunRecord,
) -> None:
    """Choose on validation, and write what describes the run."""
    out, names = record.folder, folder.info.class_names
    history = pd.concat(
        [r.history.assign(fold=i) for i, r in enumerate(results)], ignore_index=True
    )
    with atomic_path(out / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    if (figure := draw_history(history)) is not None:
        with atomic_path(out / "history.png") as temporary:
            temporary.write_bytes(render_png(figure))
    validation, temperature, cautions = _pool_validation(folder, results)
    choices = choose_on_validation(
        validation,
        class_names=names,
        slide_labels=folder.slide_labels,
        rule=config.threshold_rule,
    )
    write_predictions(out / "validation.parquet", validation, names)
    warnings = sorted({w for r in results for w in r.warnings})
    cautions = (*cautions, *choices.cautions)
    record.notes["warnings"] = [*warnings, *cautions]
    record.notes["validation_aucs"] = [_find_auc(r, names) for r in results]
    _make_card(folder, splits, config, choices, temperature, cautions).write(out)


def _pool_validation(
    folder: TileFolder, results: Sequence[FoldResult]
) -> tuple[pd.DataFrame, float, tuple[str, ...]]:
    """Fit one temperature and average what several folds say of one tile."""
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


def _find_auc(result: FoldResult, class_names: Sequence[str]) -> float | None:
    tiles = result.validation
    is_labelled = tiles["label"].notna().to_numpy()
    labels = labels_of(tiles[is_labelled])
    if len(set(labels.tolist())) < len(class_names):
        return None
    probabilities = compute_probabilities(result.validation_logits[is_labelled])
    return float(compute_roc_auc(labels, probabilities))


def _make_card(
    folder: TileFolder,
    splits: pd.DataFrame,
    config: TrainConfig,
    choices: ValidationChoices,
    temperature: float,
    cautions: tuple[str, ...],
) -> ModelCard:
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
        training_data={
            "tiles_sha256": folder.sha256,
            "n_patients": int(in_train["patient_id"].nunique()),
            "n_slides": int(in_train["slide_id"].nunique()),
            "n_tiles": int(folder.tiles["label"].notna().sum()),
        },
        is_made_data=folder.is_made,
    )
