"""From a tile table to a trained classifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from eosin.core import (
    ConfigError,
    Progress,
    RunRecord,
    atomic_path,
    hash_file,
    open_run,
)
from eosin.evaluation import choose_on_validation, write_predictions
from eosin.inference import ModelCard, read_card
from eosin.models import find_encoder
from eosin.reports import draw_history, render_png
from eosin.training import ClassWeights, FineTuneConfig, HeadConfig
from eosin.workflows.fold_pooling import (
    choose_by_fold,
    find_validation_auc,
    pool_validation,
)
from eosin.workflows.fold_training import FoldResult, FoldTrainer
from eosin.workflows.recipes import find_recipe
from eosin.workflows.run_card import make_card
from eosin.workflows.tile_folder import TileFolder, open_tile_folder
from eosin.workflows.tile_splits import assign_splits, say_left_out

# Chosen on validation tiles; see docs/train.md.
_AUTO_EPOCHS, _AUTO_STEPS = 20, 2000

_OUTPUTS = (
    "fold_*",
    "card.json",
    "history.csv",
    "history.png",
    "model.keras",
    "model.onnx",
    "run.json",
    "snapshots",
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
            block, all of it, or first the last block and then more and more
            (`progressive`). `auto` is nothing for pretrained weights and all for
            random ones.
        folds: Folds of a cross-validation by patient; 1 is one split.
        val_fraction: Share of the patients that validate, 0 to 1.
        test_fraction: Share of the patients that are held out; with folds each
            patient is held out once and this is not used.
        cached_views: Turns and flips of each training tile that are encoded: 1, 2,
            4 or 8.
        stain_jitter: Strength of random staining in training, 0 for none; 0.2 is
            about the spread between laboratories.
        views: Turns and flips that prediction averages over: 1, 2, 4 or 8.
        epochs: Epochs of the head at most, each a pass over the tiles. `auto` is 20, of
            several passes each where 20 passes are fewer than 2,000 steps.
        learning_rate: Peak learning rate of the head.
        batch: Tiles per step of the head.
        dropout: Share of the features dropped in training, 0 to 1.
        weight_decay: Of AdamW; 0 is plain Adam.
        label_smoothing: Share of each label spread over all classes.
        class_weights: Factor of each class in the loss, in label order, or
            `balanced`; needs a `balance` that leaves classes alone.
        mixup: How much pairs of tiles and their labels are blended (alpha of Zhang et
            al., 2018); 0 is none, 0.2 to 0.4 usual.
        ema_decay: How slowly the average of the weights that is kept follows them; 0
            keeps the weights themselves, 0.99 to 0.9999 is usual.
        balance: What is drawn equally often.
        schedule: How the learning rate goes.
        patience: Epochs without a better one before training stops.
        tune_epochs: Epochs of fine-tuning at most.
        tune_learning_rate: Peak learning rate of fine-tuning.
        tune_batch: Tiles per step of fine-tuning.
        layer_decay: Factor of fine-tuning's learning rate for each step away from the
            head: the last block has it once, all before it twice. 1 trains all alike.
        unfreeze_steps: Steps of `progressive`, 2 or more: the last block, then one
            more stage of the encoder in each, and in the last one all. Each has
            `tune_epochs` at most.
        unfreeze_factor: Peak learning rate of each of these over the one before.
        snapshots: Models of the best epochs that are exported beside the final one.
        threshold_rule: `youden`, `sensitivity@x` or `specificity@x`, applied to
            validation patients.
        device: Where the encoder runs: `auto`, `cpu` or `cuda`.
        seed: Seed of everything random.
        recipe: Name of the recipe that other settings come from. It changes nothing
            by itself: `load_train_config` fills in what it stands for.
    """

    encoder: str = "densenet121"
    weights: str = "imagenet"
    fine_tune: Literal["auto", "none", "last", "all", "progressive"] = "auto"
    folds: int = 1
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    cached_views: Literal[8, 4, 2, 1] = 8
    stain_jitter: float = 0.0
    views: Literal[1, 2, 4, 8] = 1
    epochs: int | Literal["auto"] = "auto"
    learning_rate: float = 1e-3
    batch: int = 128
    dropout: float = 0.5
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    mixup: float = 0.0
    ema_decay: float = 0.0
    balance: Literal["none", "class", "slide", "class_and_slide"] = "class_and_slide"
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    patience: int | None = 5
    tune_epochs: int = 8
    tune_learning_rate: float = 1e-4
    tune_batch: int = 32
    layer_decay: float = 1.0
    unfreeze_steps: int = 3
    unfreeze_factor: float = 0.3
    snapshots: int = 0
    threshold_rule: str = "youden"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    recipe: str | None = None

    def __post_init__(self) -> None:
        find_encoder(self.encoder)
        if self.folds < 1:
            raise ConfigError(f"folds must be 1 or more, got {self.folds}")
        for name in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 0.5:
                raise ConfigError(
                    f"{name} must lie between 0 and 0.5, got {getattr(self, name):g}"
                )
        for name, lowest in (("unfreeze_steps", 2), ("snapshots", 0)):
            if getattr(self, name) < lowest:
                raise ConfigError(
                    f"{name} must be {lowest} or more, got {getattr(self, name)}"
                )
        if not 0 < self.unfreeze_factor <= 1:
            raise ConfigError(
                f"unfreeze_factor must be in (0, 1], got {self.unfreeze_factor:g}"
            )
        if self.recipe is not None:
            find_recipe(self.recipe)
        # Settings that contradict each other, before any tile is encoded.
        _ = self.head, self.tuning

    @property
    def depth(self) -> Literal["none", "last", "all", "progressive"]:
        """What is trained beside the head."""
        if self.fine_tune != "auto":
            return self.fine_tune
        return "all" if self.weights == "none" else "none"

    @property
    def head(self) -> HeadConfig:
        """Settings of the frozen stage."""
        is_auto = self.epochs == "auto"
        return HeadConfig(
            epochs=_AUTO_EPOCHS if is_auto else int(self.epochs),
            min_steps=_AUTO_STEPS if is_auto else 0,
            learning_rate=self.learning_rate,
            batch=self.batch,
            dropout=self.dropout,
            **self._shared(),
        )

    @property
    def tuning(self) -> FineTuneConfig:
        """Settings of fine-tuning."""
        return FineTuneConfig(
            depth="last" if self.depth in ("last", "progressive") else "all",
            layer_decay=self.layer_decay,
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
            "class_weights": self.class_weights,
            "mixup": self.mixup,
            "ema_decay": self.ema_decay,
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
    several), `snapshots/` beside them if asked for, `card.json`, `history.csv`,
    `history.png`, `splits.csv`, `validation.parquet` and `run.json`. Thresholds, the
    temperature and the slide score are chosen on validation patients. An interrupted
    call goes on where it stopped and ends with the same model.

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
    validation, temperature, cautions = pool_validation(folder, results)
    choices = choose_on_validation(
        validation,
        class_names=names,
        slide_labels=folder.slide_labels,
        rule=config.threshold_rule,
    )
    write_predictions(out / "validation.parquet", validation, names)
    warnings = sorted({w for r in results for w in r.warnings})
    cautions = (*folder.info.cautions, *cautions, *choices.cautions)
    left_out = say_left_out(folder, splits)
    record.notes["warnings"] = [*warnings, *left_out, *cautions]
    record.notes["validation_aucs"] = [find_validation_auc(r, names) for r in results]
    card = make_card(
        folder,
        splits,
        config,
        choices,
        temperature,
        cautions,
        choose_by_fold(folder, results, config.threshold_rule),
    )
    card.write(out)
