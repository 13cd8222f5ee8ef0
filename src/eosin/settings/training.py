"""How patients are divided, and how a tile classifier is trained."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from eosin.core import ConfigError
from eosin.settings.fitting import HeadFit, RangeTest, TuneFit
from eosin.settings.recipes import RecipeSettings
from eosin.settings.setting import Settings, list_types, setting
from eosin.settings.tiling import Device, NViews

TrainedPart = Literal["auto", "none", "last", "all", "progressive"]

_THRESHOLD_RULE = re.compile(r"(sensitivity|specificity)@(\d*\.?\d+)")


@dataclass(frozen=True, kw_only=True)
class FoldSettings(Settings):
    """Which patients a cross-validation holds out and validates on.

    Attributes:
        folds: Folds of a cross-validation by patient, each held out once; 1 is one
            split.
        val_fraction: Share of the patients that validate; with folds, of those that a
            fold does not hold out.
        seed: Seed of everything random.
    """

    folds: int = setting(least=1)
    val_fraction: float = setting(0.2, above=0, below=1)
    seed: int = setting(0, least=0)


@dataclass(frozen=True, kw_only=True)
class SplitSettings(FoldSettings):
    """Which patients train, validate and test.

    Attributes:
        test_fraction: Share of the patients that are held out where there are no folds.
    """

    folds: int = 1
    test_fraction: float = setting(0.2, above=0, below=1)

    def check(self) -> None:
        """Stop where nobody is left to train."""
        super().check()
        if self.folds == 1 and self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must leave something to train on, got "
                f"{self.val_fraction:g} and {self.test_fraction:g}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """What all models have: how their thresholds are chosen.

    Attributes:
        threshold_rule: How thresholds are chosen on validation patients: `youden`,
            `sensitivity@x` or `specificity@x`.
    """

    threshold_rule: str = "youden"

    def check(self) -> None:
        """Stop where the rule is none."""
        super().check()
        parse_threshold_rule(self.threshold_rule)


def parse_threshold_rule(rule: str) -> tuple[str, float]:
    """Split a rule into its name and its target, which is 0 for `youden`.

    Raises:
        ConfigError: The rule is unknown, or its target is not above 0 and up to 1.
    """
    if rule == "youden":
        return rule, 0.0
    match = _THRESHOLD_RULE.fullmatch(rule)
    target = float(match[2]) if match else 0.0
    if match is None or not 0 < target <= 1:
        raise ConfigError(
            "threshold_rule must be youden, sensitivity@x or specificity@x with x "
            f"above 0 and up to 1, got '{rule}'"
        )
    return match[1], target


@dataclass(frozen=True, kw_only=True)
class TileTraining(RecipeSettings, ModelSettings, SplitSettings, HeadFit):
    """How a tile classifier is trained.

    Attributes:
        weights: The encoder's weights: `imagenet`, `none` (random), or a file.
        fine_tune: What is trained beside the head: nothing, the encoder's last block,
            all of it, or first the last block and then more and more (`progressive`).
            `auto` is nothing for pretrained weights and all for random ones.
        cached_views: Turns and flips of each training tile that are encoded.
        stain_jitter: Strength of random staining in training, 0 for none; 0.2 is about
            the spread between laboratories.
        views: Turns and flips that prediction averages over.
        device: Where encoders and exported models run; training is Keras'.
        tune_epochs: Epochs of fine-tuning at most.
        tune_learning_rate: Peak learning rate of fine-tuning.
        tune_batch: Tiles per step of fine-tuning.
        unfreeze_steps: Steps of `progressive`: the last block, then one more stage of
            the encoder in each, and in the last one all. Each has `tune_epochs` at
            most.
        unfreeze_factor: Peak learning rate of each of these over the one before.
        snapshots: Models of the best epochs that are exported beside the final one.
        layer_decay: Factor of the learning rate for each step away from the head: the
            last block has it once, all before it twice. 1 trains all alike.
    """

    weights: str = "imagenet"
    fine_tune: TrainedPart = "auto"
    val_fraction: float = setting(0.2, below=0.5)
    test_fraction: float = setting(0.2, below=0.5)
    cached_views: Literal[8, 4, 2, 1] = 8
    stain_jitter: float = setting(0.0, least=0)
    views: NViews = 1
    device: Device = "auto"
    epochs: int | Literal["auto"] = "auto"
    tune_epochs: int = setting(8, least=1)
    tune_learning_rate: float = setting(1e-4, above=0)
    tune_batch: int = setting(32, least=1)
    layer_decay: float = setting(1.0, above=0, most=1)
    unfreeze_steps: int = setting(3, least=2)
    unfreeze_factor: float = setting(0.3, above=0, most=1)
    snapshots: int = setting(0, least=0)

    def check(self) -> None:
        """Stop where settings contradict each other, before any tile is encoded."""
        super().check()
        _ = self.tuning

    @property
    def depth(self) -> Literal["none", "last", "all", "progressive"]:
        """What is trained beside the head."""
        if self.fine_tune != "auto":
            return self.fine_tune
        return "all" if self.weights == "none" else "none"

    @property
    def tuning(self) -> TuneFit:
        """Settings of fine-tuning."""
        own = {name: getattr(self, name) for name in list_types(type(self))}
        shared = {name: own[name] for name in list_types(TuneFit) if name in own}
        changed: dict[str, Any] = {
            "depth": "last" if self.depth in ("last", "progressive") else "all",
            "batch_norm": "trained" if self.weights == "none" else "frozen",
            "epochs": self.tune_epochs,
            "learning_rate": self.tune_learning_rate,
            "batch": self.tune_batch,
            "min_steps": None,
        }
        return TuneFit(**shared | changed)


@dataclass(frozen=True, kw_only=True)
class RateSearch(RangeTest, TileTraining):
    """Which training is to be tested, and with which learning rates."""
