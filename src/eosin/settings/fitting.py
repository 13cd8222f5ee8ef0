"""How one model is fitted: the epochs, the learning rate, what is drawn how often."""

from dataclasses import dataclass
from typing import Literal

from eosin.core import ConfigError
from eosin.settings.setting import Settings, setting

Balance = Literal["none", "class", "slide", "class_and_slide"]
ClassWeights = tuple[float, ...] | Literal["none", "balanced"]
Monitor = Literal["val_roc_auc", "val_loss"]
Optimiser = Literal["adam", "adamw"]
DtypePolicy = Literal["float32", "mixed_bfloat16"]
Precision = Literal["auto", DtypePolicy]
Schedule = Literal["one_cycle", "cosine", "constant"]

# Chosen on validation tiles; see the documentation of training.
_AUTO_EPOCHS, _AUTO_STEPS = 20, 2000


@dataclass(frozen=True, kw_only=True)
class FitSettings(Settings):
    """What every fit has.

    Attributes:
        epochs: Epochs at most, each a pass over what is trained on.
        learning_rate: Learning rate at the peak of the schedule.
        batch: Tiles per step; the batches of an epoch are of equal size.
        schedule: How the learning rate goes over all steps: up and down (`one_cycle`),
            down (`cosine`) or not at all.
        weight_decay: Weight decay of AdamW; 0 is Adam.
        label_smoothing: Share of each label spread over all classes.
        class_weights: Factor of each class in the loss, in label order, or `balanced`:
            by the inverse of its share. Needs a `balance` that leaves classes alone.
        balance: What is drawn equally often: nothing, classes, slides, or slides within
            each class (`class_and_slide`).
        max_repeats: How often balancing may draw one tile or bag in an epoch; keeps a
            slide of three tiles from being learnt by heart.
        monitor: What picks the best epoch: the validation AUC, of which a tie goes to
            the lower loss, or the loss.
        patience: Epochs without a better one before training stops; `none` never does.
        seed: Seed of everything random.
    """

    epochs: int | Literal["auto"] = setting(least=1)
    learning_rate: float = setting(above=0)
    batch: int = setting(least=1)
    schedule: Schedule = "one_cycle"
    weight_decay: float = setting(0.0, least=0)
    label_smoothing: float = setting(0.0, least=0, below=1)
    class_weights: ClassWeights = setting("none", above=0)
    balance: Balance = "class_and_slide"
    max_repeats: float = setting(10.0, least=1)
    monitor: Monitor = "val_roc_auc"
    patience: int | None = setting(5, least=1)
    seed: int = setting(0, least=0)

    def check(self) -> None:
        """Stop where classes would be balanced twice."""
        super().check()
        if self.class_weights != "none" and self.balance.startswith("class"):
            raise ConfigError(
                "class_weights must be none where balance draws classes equally (both "
                "would count twice; --set balance=none, or slide), got "
                f"{self.class_weights}"
            )

    @property
    def optimiser(self) -> Optimiser:
        """Adam, or Adam with decoupled weight decay."""
        return "adamw" if self.weight_decay else "adam"

    @property
    def n_epochs(self) -> int:
        """Epochs at most, `auto` resolved."""
        return _AUTO_EPOCHS if self.epochs == "auto" else self.epochs


@dataclass(frozen=True, kw_only=True)
class TileFit(FitSettings):
    """What both stages of a tile classifier may do besides.

    Attributes:
        mixup: How much pairs of tiles and their labels are blended (alpha of Zhang et
            al., 2018); 0 blends none, 0.2 to 0.4 is usual.
        ema_decay: How slowly the average of the weights that is kept follows them; 0
            keeps the weights themselves, 0.99 to 0.9999 is usual.
        min_steps: Steps of all epochs together at least; where single passes give
            fewer, each epoch is several. `none` is 2,000 where `epochs` is `auto`, else
            0.
    """

    mixup: float = setting(0.0, least=0)
    ema_decay: float = setting(0.0, least=0, below=1)
    min_steps: int | None = setting(None, least=0)

    @property
    def least_steps(self) -> int:
        """Steps of all epochs together at least, `auto` resolved."""
        if self.min_steps is not None:
            return self.min_steps
        return _AUTO_STEPS if self.epochs == "auto" else 0


@dataclass(frozen=True, kw_only=True)
class HeadFit(TileFit):
    """Stage 1: the head, on features that were encoded once.

    Attributes:
        epochs: Epochs at most, each a pass over the tiles. `auto` is 20, of several
            passes each where 20 passes are fewer than 2,000 steps.
        dropout: Share of the features dropped in training.
    """

    epochs: int | Literal["auto"] = 20
    learning_rate: float = 1e-3
    batch: int = 128
    dropout: float = setting(0.5, least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TuneFit(TileFit):
    """Stage 2: the encoder's last block, or all of it.

    Attributes:
        depth: What of the encoder is trained: its last block, or all.
        trunk_stages: With the depth `all`, how many stages before the last block are
            trained; `none` is all of them.
        layer_decay: Factor of the learning rate for each step away from the head: the
            last block has it once, all before it twice. 1 trains all alike.
        batch_norm: `frozen` keeps the statistics and the scale of batch normalisation
            as a pretrained encoder has them; `trained` is for random weights.
        precision: Of the computation; the weights stay float32. `auto` is
            mixed_bfloat16 on a GPU and float32 elsewhere.
    """

    epochs: int = 8
    learning_rate: float = 1e-4
    batch: int = 32
    patience: int | None = 3
    depth: Literal["last", "all"] = "last"
    trunk_stages: int | None = setting(None, least=1)
    layer_decay: float = setting(1.0, above=0, most=1)
    batch_norm: Literal["frozen", "trained"] = "frozen"
    precision: Precision = "auto"

    def check(self) -> None:
        """Stop where a part of a trunk is named that is not trained."""
        super().check()
        if self.trunk_stages is not None and self.depth != "all":
            raise ConfigError(
                "trunk_stages must be none, or 1 or more with the depth 'all', got "
                f"{self.trunk_stages}"
            )


@dataclass(frozen=True, kw_only=True)
class BagFit(FitSettings):
    """How a model of bags is fitted.

    Attributes:
        batch: Bags per step at most; cohorts are small, and few steps teach little.
        balance: What is drawn equally often: nothing, classes, patients (`slide`), or
            patients within each class (`class_and_slide`).
        max_instances: Instances of a bag that one step sees at most, drawn anew in
            every epoch; validation sees all.
        max_padded: Instances per step at most, those that fill smaller bags up
            included, which bounds the memory; a larger bag makes a step of its own.
        clip: How many deviations from the training bags' mean a feature may lie; what
            lies further out is moved there. `none` has no limit.
    """

    epochs: int = 50
    learning_rate: float = 5e-4
    batch: int = 4
    weight_decay: float = 1e-2
    class_weights: ClassWeights = "balanced"
    balance: Balance = "none"
    # With a handful of validation patients an AUC of 1 comes early and often.
    monitor: Monitor = "val_loss"
    patience: int | None = 10
    max_instances: int = setting(4096, least=1)
    max_padded: int = setting(1 << 16, least=1)
    clip: float | None = setting(None, above=0)

    @property
    def depth(self) -> Literal["last", "all"]:
        """How much of an encoder is trained; of features there is none."""
        return "all"

    @property
    def batch_norm(self) -> Literal["frozen", "trained"]:
        """Whether the encoder's batch normalisation learns."""
        return "trained"


@dataclass(frozen=True, kw_only=True)
class RangeTest(Settings):
    """Which learning rates a range test tries.

    Attributes:
        lowest: Learning rate of the first step.
        highest: Learning rate of the last step; between them each step's is the same
            multiple of the one before.
        n_steps: Training steps at most.
        smoothing: Share of the steps over which the loss is averaged, centred.
        stop_factor: The test ends where the running loss exceeds its lowest so many
            times.
    """

    lowest: float = setting(1e-6, above=0)
    highest: float = setting(1.0, above=0)
    n_steps: int = setting(100, least=10)
    smoothing: float = setting(0.1, least=0, most=0.5)
    stop_factor: float = setting(4.0, above=1)

    def check(self) -> None:
        """Stop where the ends are in the wrong order."""
        super().check()
        if self.lowest >= self.highest:
            raise ConfigError(
                f"lowest must be below highest, got {self.lowest:g} and "
                f"{self.highest:g}"
            )
