"""How models of bags are trained: of features, and of pixels."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from eosin.core import ConfigError
from eosin.settings.class_order import put_negative_first
from eosin.settings.fitting import BagFit, DtypePolicy
from eosin.settings.names import (
    KNOWN_AGGREGATORS,
    KNOWN_ENCODERS,
)
from eosin.settings.setting import setting
from eosin.settings.tiling import Device
from eosin.settings.training import FoldSettings, ModelSettings

BagUnit = Literal["slide", "patient"]

_CHOOSABLE = (
    *("aggregator", "widths", "dropout", "epochs", "learning_rate", "batch"),
    *("patience", "max_instances", "class_weights"),
)
_OF_SEVERAL = ("widths", "class_weights")
_SHORT = {"lr": "learning_rate"}


@dataclass(frozen=True, kw_only=True)
class BagModel(ModelSettings, BagFit):
    """What a bag model of features and one of pixels share.

    Attributes:
        aggregator: The method of multiple-instance learning (MIL).
        n_seeds: Models per fold, from other first weights, whose logits are averaged.
        widths: Widths of the dense layers before the aggregator.
        dropout: Share of the projected features dropped in training.
    """

    aggregator: str = setting("gated_attention", names=KNOWN_AGGREGATORS)
    n_seeds: int = setting(1, least=1)
    widths: tuple[int, ...] = setting((256,), least=1)
    dropout: float = setting(0.25, least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class BagTraining(FoldSettings, BagModel):
    """How a model of bags of features is trained.

    Attributes:
        classes: Classes in the slide table's column `label`, the negative one first;
            one called normal, benign or the like goes first by itself. Without any,
            those of the tiles.
        unit: What a bag is: a slide, or a patient with all slides together.
        folds: Folds of the cross-validation by patient, each held out once.
        encoder: The encoder, where tiles are given instead of features.
        columns: Further columns of the slide table that the models take beside the
            features, such as age and sex.
        choose: What each fold chooses by its own training patients (nested validation),
            one text each, such as `aggregator=max,attention` or `lr=1e-3,1e-4`; several
            widths or class weights are joined by a plus.
        inner_folds: Folds of the training patients by which is chosen.
        missing: Whether slides without features or labels, and features without a
            slide, stop the study or are left out.
        precision: In what is computed; weights and logits are float32 always.
            `mixed_bfloat16` saves about half the time where the processor has
            instructions for it (AVX512-BF16, AMX, GPUs), and costs time elsewhere.
        weights: The encoder's weights: `imagenet`, `none` (random), or a file.
        device: Where the encoder runs; training is Keras'.
    """

    classes: tuple[str, ...] = ()
    unit: BagUnit = "slide"
    folds: int = setting(5, least=2)
    encoder: str = setting("densenet121", names=KNOWN_ENCODERS)
    weights: str = "imagenet"
    device: Device = "auto"
    columns: tuple[str, ...] = ()
    choose: tuple[str, ...] = ()
    inner_folds: int = setting(3, least=2)
    missing: Literal["stop", "skip"] = "stop"
    precision: DtypePolicy = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.resolve(classes=put_negative_first(self.classes))

    def check(self) -> None:
        """Stop where there is nothing to tell apart, or what is chosen cannot be."""
        super().check()
        if len(self.classes) == 1:
            raise ConfigError(
                "two classes or more are needed, the negative one first, such as "
                f"classes=normal,tumor; got {self.classes[0]}"
            )
        _ = self.list_choices()

    @property
    def choices(self) -> Mapping[str, list[str]]:
        """The values that `choose` names, by field.

        Raises:
            ConfigError: A field cannot be chosen, is named twice, or has one value.
        """
        fields: dict[str, list[str]] = {}
        for text in self.choose:
            name, equals, values = text.partition("=")
            name = _SHORT.get(name.strip(), name.strip())
            if not equals or name not in _CHOOSABLE:
                raise ConfigError(
                    "choose takes field=value,value with one of "
                    f"{', '.join(_CHOOSABLE)} (lr for learning_rate), got '{text}'"
                )
            if name in fields:
                raise ConfigError(f"choose names {name} twice; give its values in one")
            given = [value.strip() for value in values.split(",") if value.strip()]
            if name in _OF_SEVERAL:
                given = [value.replace("+", ",") for value in given]
            fields[name] = list(dict.fromkeys(given))
            if len(fields[name]) < 2:
                raise ConfigError(f"choose needs two values or more, got '{text}'")
        return fields

    def list_choices(self) -> list[Self]:
        """List every combination of what is to be chosen, in the order it was given.

        Raises:
            ConfigError: It cannot be chosen, or a value does not fit its field.
        """
        names, values = self.choices.keys(), self.choices.values()
        combinations = (
            dict[str, Any](zip(names, chosen, strict=True))
            for chosen in itertools.product(*values)
        )
        return [replace(self, choose=(), **own) for own in combinations if own]


@dataclass(frozen=True, kw_only=True)
class PixelTraining(BagModel):
    """How an encoder and an aggregator are trained together, on drawn bags.

    Attributes:
        weights: The encoder's first weights: `imagenet`, `none` (random) or a file;
            `auto` takes ImageNet's where there are any.
        fine_tune: Whether all of the encoder is trained, or its last block, which takes
            a fraction of the memory. `auto` is all for random weights, the last block
            for others.
        learning_rate: Learning rate at the peak of the schedule; `none` is 1e-3 for
            random weights, 1e-4 for others.
        encoder: The encoder.
    """

    encoder: str = setting("smallcnn", names=KNOWN_ENCODERS)
    weights: str = "auto"
    fine_tune: Literal["auto", "last", "all"] = "auto"
    widths: tuple[int, ...] = (128,)
    epochs: int = 30
    learning_rate: float | None = None  # type: ignore[assignment]  # resolved at once
    max_padded: int = 160
    max_instances: int = 64
    patience: int | None = 8

    def __post_init__(self) -> None:
        # What depends on other settings is resolved once, so that records hold it.
        if self.weights == "auto":
            has_some = KNOWN_ENCODERS.get(self.encoder, False)
            self.resolve(weights="imagenet" if has_some else "none")
        is_new = self.weights == "none"
        if self.fine_tune == "auto":
            self.resolve(fine_tune="all" if is_new else "last")
        if self.learning_rate is None:
            self.resolve(learning_rate=1e-3 if is_new else 1e-4)
        super().__post_init__()

    @property
    def depth(self) -> Literal["last", "all"]:
        """How much of the encoder is trained."""
        return "last" if self.fine_tune == "last" else "all"

    @property
    def batch_norm(self) -> Literal["frozen", "trained"]:
        """A pretrained encoder keeps its statistics."""
        return "trained" if self.weights == "none" else "frozen"
