"""Settings of the two stages of training."""

import math
from dataclasses import dataclass
from typing import Literal

from eosin.core import ConfigError

Balance = Literal["none", "class", "slide", "class_and_slide"]
ClassWeights = tuple[float, ...] | Literal["none", "balanced"]
Monitor = Literal["val_roc_auc", "val_loss"]
Optimiser = Literal["adam", "adamw"]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
Schedule = Literal["one_cycle", "cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What both stages share.

    Attributes:
        epochs: Passes over the training tiles at most, 1 or more.
        batch: Tiles per step, 1 or more; the batches of an epoch are of equal
            size, so that none is nearly empty.
        learning_rate: The schedule's peak, above 0.
        schedule: How the learning rate goes over all steps.
        optimiser: Adam, or Adam with decoupled weight decay.
        weight_decay: For `adamw` only, 0 or more.
        label_smoothing: Share of each label spread over all classes, [0, 1).
        class_weights: Factor of each class in the loss, in label order;
            `balanced` takes them from the training tiles.
        balance: Whether classes, slides, or slides within classes are drawn
            equally often.
        max_repeats: How often balancing may draw one tile in an epoch, 1 or
            more; keeps a slide of three tiles from being learnt by heart.
        monitor: What picks the best epoch. A tie in the AUC goes to the lower
            loss.
        patience: Epochs without a better one before training stops. None
            never stops early.
        seed: Seed of the order, the views, augmentation and dropout.
    """

    epochs: int
    batch: int
    learning_rate: float
    schedule: Schedule = "one_cycle"
    optimiser: Optimiser = "adam"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    balance: Balance = "class_and_slide"
    max_repeats: float = 10.0
    monitor: Monitor = "val_roc_auc"
    patience: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs must be 1 or more", self.epochs)
        _require(self.batch >= 1, "batch must be 1 or more", self.batch)
        _require(
            self.learning_rate > 0 and math.isfinite(self.learning_rate),
            "learning_rate must be above 0",
            self.learning_rate,
        )
        _require(
            0 <= self.label_smoothing < 1,
            "label_smoothing must be in [0, 1)",
            self.label_smoothing,
        )
        _require(
            self.weight_decay >= 0, "weight_decay must be 0 or more", self.weight_decay
        )
        _require(
            self.weight_decay == 0 or self.optimiser == "adamw",
            "weight_decay needs the optimiser adamw",
            self.optimiser,
        )
        _require(
            self.max_repeats >= 1, "max_repeats must be 1 or more", self.max_repeats
        )
        _require(
            self.patience is None or self.patience >= 1,
            "patience must be 1 or more, or none",
            self.patience,
        )
        _require(self.seed >= 0, "seed must be 0 or more", self.seed)
        _require(
            self.class_weights == "none" or not self.balance.startswith("class"),
            "class_weights must be none where balance draws classes equally (both "
            "would count twice; --set balance=none, or slide)",
            self.class_weights,
        )


@dataclass(frozen=True, kw_only=True)
class TileTrainingConfig(TrainingConfig):
    """What both stages of a tile classifier may do besides.

    Attributes:
        mixup: How much pairs of tiles and their labels are blended: the alpha of
            `mix_batch`, 0 or more; 0.2 to 0.4 is usual, 0 is none.
        ema_decay: How slowly the average of the weights follows them, [0, 1). The
            average is what validates and what is kept; 0.99 to 0.9999 is usual, 0
            is none.
        min_steps: Steps of all epochs together at least, 0 or more: where one pass
            over the tiles in each gives fewer, each has as many passes as it takes.
    """

    mixup: float = 0.0
    ema_decay: float = 0.0
    min_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.mixup >= 0 and math.isfinite(self.mixup),
            "mixup must be 0 or more",
            self.mixup,
        )
        _require(0 <= self.ema_decay < 1, "ema_decay must be in [0, 1)", self.ema_decay)
        _require(self.min_steps >= 0, "min_steps must be 0 or more", self.min_steps)


@dataclass(frozen=True, kw_only=True)
class HeadConfig(TileTrainingConfig):
    """Stage 1: the head, on features that were encoded once.

    Attributes:
        dropout: Share of the features that is dropped in training, [0, 1); goes
            to `build_classifier`.
    """

    epochs: int = 20
    batch: int = 128
    learning_rate: float = 1e-3
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.dropout < 1, "dropout must be in [0, 1)", self.dropout)


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(TileTrainingConfig):
    """Stage 2: the encoder's last block, or all of it.

    Attributes:
        depth: What is trained beside the head.
        trunk_stages: With the depth `all`, how much before the last block is trained:
            so many of the stages of `find_stages`, 1 or more. None is all of them.
        layer_decay: Factor of the learning rate for each step away from the head,
            (0, 1]: the last block has it once, all before it twice. 1 trains all
            alike; 0.3 keeps what a pretrained encoder knows.
        batch_norm: `frozen` keeps the statistics and the scale of batch
            normalisation as they were learnt, which is what a pretrained encoder
            needs; `trained` is for encoders that start from random weights.
        precision: dtype of the computation; the weights stay float32. `auto` is
            mixed_bfloat16 on a GPU and float32 elsewhere.
    """

    epochs: int = 8
    batch: int = 32
    learning_rate: float = 1e-4
    patience: int | None = 3
    depth: Literal["last", "all"] = "last"
    trunk_stages: int | None = None
    layer_decay: float = 1.0
    batch_norm: Literal["frozen", "trained"] = "frozen"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            0 < self.layer_decay <= 1, "layer_decay must be in (0, 1]", self.layer_decay
        )
        _require(
            self.trunk_stages is None
            or (self.depth == "all" and self.trunk_stages >= 1),
            "trunk_stages must be none, or 1 or more with the depth 'all'",
            self.trunk_stages,
        )


def _require(condition: bool, rule: str, value: object) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        raise ConfigError(f"{rule}, got {value}")
