"""Named sets of training settings, which files and options may still change."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from eosin.settings.names import KNOWN_ENCODERS
from eosin.settings.setting import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named set of training settings.

    Attributes:
        name: Its name on the command line.
        summary: What it is, in one sentence.
        encoders: The first of these is taken whose weights can be had.
        settings: Fields of `TileTraining` by name; the others keep their defaults.
    """

    name: str
    summary: str
    encoders: tuple[str, ...]
    settings: Mapping[str, Any]


# A frozen ImageNet base, global average pooling, dropout, one sigmoid, Adam and binary
# cross entropy for 10 epochs, on every tile as it is, as tutorials on PatchCamelyon do.
_BASELINE: Mapping[str, Any] = MappingProxyType(
    {
        "fine_tune": "none",
        "cached_views": 1,
        "views": 1,
        "epochs": 10,
        "learning_rate": 1e-3,
        "batch": 32,
        "dropout": 0.5,
        "balance": "none",
        "schedule": "constant",
        "patience": None,
    }
)
# On all turns and flips, over one long cycle.
_ONE_CYCLE: Mapping[str, Any] = MappingProxyType(
    {
        "fine_tune": "none",
        "cached_views": 8,
        "batch": 32,
        "schedule": "one_cycle",
        "balance": "class",
        "patience": None,
    }
)

_RECIPES = (
    Recipe(
        name="xception-baseline",
        summary="Frozen Xception, pooled, dropout 0.5, one sigmoid; Adam at 0.001, "
        "binary cross entropy, 10 epochs.",
        encoders=("xception",),
        settings=_BASELINE,
    ),
    Recipe(
        name="mobilenetv2-baseline",
        summary="The same on frozen MobileNetV2.",
        encoders=("mobilenetv2",),
        settings=_BASELINE,
    ),
    Recipe(
        name="densenet-onecycle",
        summary="Frozen DenseNet169 (DenseNet121 where its weights cannot be had), "
        "turns and flips, AdamW on one cycle, four views in prediction.",
        encoders=("densenet169", "densenet121"),
        settings={
            **_ONE_CYCLE,
            "views": 4,
            "epochs": 20,
            "learning_rate": 3e-3,
            "weight_decay": 1e-2,
        },
    ),
    Recipe(
        name="best",
        summary="What did best on validation tiles of an oral cancer set: frozen "
        "MobileNetV2, turns and flips, one long cycle to a high peak, eight views in "
        "prediction, one temperature; with --folds, all folds' models averaged.",
        encoders=("mobilenetv2",),
        settings={
            **_ONE_CYCLE,
            "views": 8,
            "epochs": 40,
            "learning_rate": 1e-2,
            "dropout": 0.25,
        },
    ),
)
RECIPES: Mapping[str, Recipe] = MappingProxyType({r.name: r for r in _RECIPES})
"""Every recipe by its name."""


@dataclass(frozen=True, kw_only=True)
class RecipeSettings(Settings):
    """What a recipe is named by, and the encoder that it chooses.

    Attributes:
        encoder: The encoder.
        recipe: The recipe that other settings come from; its name alone changes none.
    """

    encoder: str = setting("densenet121", names=KNOWN_ENCODERS)
    recipe: str | None = setting(None, names=RECIPES)


T = TypeVar("T", bound=RecipeSettings)


def load_with_recipe(
    load: Callable[[Mapping[str, Any]], T], find_obstacle: Callable[[T], str | None]
) -> tuple[T, tuple[str, ...]]:
    """Build settings of training on those of the recipe that they name.

    Where nobody names an encoder, it is the recipe's first one whose weights can be
    had.

    Args:
        load: Builds them, by field from other defaults than the class's own.
        find_obstacle: Says why the weights of the encoder in settings cannot be had;
            None where they can. Asked only where a recipe names several encoders.

    Returns:
        The settings, and sentences that must be said of how they came about.

    Raises:
        ConfigError: A field or the recipe is unknown, or a value does not fit.
    """
    plain = load({})
    if plain.recipe is None:
        return plain, ()
    recipe = RECIPES[plain.recipe]
    candidates = [load({**recipe.settings, "encoder": e}) for e in recipe.encoders]
    remarks: list[str] = []
    for settings, following in itertools.pairwise(candidates):
        # Alike where somebody named the encoder.
        is_given = following.encoder == settings.encoder
        reason = None if is_given else find_obstacle(settings)
        if reason is None:
            return settings, tuple(remarks)
        remarks.append(
            f"the recipe '{recipe.name}' asks for {recipe.encoders[0]}, whose weights "
            f"cannot be had, so {following.encoder} is trained in its place: {reason}"
        )
    return candidates[-1], tuple(remarks)


def describe_recipe(settings: RecipeSettings) -> str | None:
    """Say which recipe settings follow, and where they do not.

    Returns:
        Such as `best, but for views = 1 (8)`; None without a recipe.
    """
    if settings.recipe is None:
        return None
    recipe = RECIPES[settings.recipe]
    wanted = {"encoder": recipe.encoders[0], **recipe.settings}
    departures = [
        f"{name} = {getattr(settings, name)} ({value})"
        for name, value in wanted.items()
        if getattr(settings, name) != value
    ]
    return recipe.name + (f", but for {', '.join(departures)}" if departures else "")
