"""Named sets of training settings, which files and options may still change."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from eosin.core import ConfigError, ModelError, load_config, suggest

if TYPE_CHECKING:
    from eosin.workflows.train_tiles import TrainConfig

Config = TypeVar("Config", bound="TrainConfig")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named set of training settings.

    Attributes:
        name: Its name on the command line.
        summary: What it is, in one sentence.
        encoders: The first of these is taken whose weights can be had.
        settings: Fields of `TrainConfig` by name; the others keep their defaults.
    """

    name: str
    summary: str
    encoders: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


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
            "fine_tune": "none",
            "cached_views": 8,
            "views": 4,
            "epochs": 20,
            "learning_rate": 3e-3,
            "batch": 32,
            "weight_decay": 1e-2,
            "schedule": "one_cycle",
            "balance": "class",
            "patience": None,
        },
    ),
    Recipe(
        name="best",
        summary="What did best on validation tiles of an oral cancer set: frozen "
        "MobileNetV2, turns and flips, one long cycle to a high peak, eight views in "
        "prediction, one temperature; with --folds, all folds' models averaged.",
        encoders=("mobilenetv2",),
        settings={
            "fine_tune": "none",
            "cached_views": 8,
            "views": 8,
            "epochs": 40,
            "learning_rate": 1e-2,
            "batch": 32,
            "dropout": 0.25,
            "schedule": "one_cycle",
            "balance": "class",
            "patience": None,
        },
    ),
)
RECIPES: Mapping[str, Recipe] = MappingProxyType({r.name: r for r in _RECIPES})
"""Every recipe by its name."""


def find_recipe(name: str) -> Recipe:
    """Look a recipe up by its name.

    Raises:
        ConfigError: No recipe has this name.
    """
    if name not in RECIPES:
        raise ConfigError(
            f"recipe must be one of {', '.join(RECIPES)}; got '{name}'"
            f"{suggest(name, RECIPES)}"
        )
    return RECIPES[name]


def load_train_config(
    cls: type[Config],
    *,
    path: Path | None = None,
    overrides: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
) -> tuple[Config, tuple[str, ...]]:
    """Build a config of training from a recipe, a file, options and `--set` pairs.

    Later sources win. The recipe's name may stand in any but the first. Where nobody
    names an encoder, it is the recipe's first one whose weights can be had.

    Args:
        cls: `TrainConfig`, or a dataclass that adds fields to it.
        path: A TOML file of settings. None reads no file.
        overrides: Texts of the form `field=value`.
        given: Values by field; those that are None count as not given.

    Returns:
        The settings, and sentences that must be said of how they came about.

    Raises:
        ConfigError: A field or the recipe is unknown, or a value does not fit.
    """
    sources: dict[str, Any] = {"path": path, "overrides": overrides, "given": given}
    plain = load_config(cls, **sources)
    if plain.recipe is None:
        return plain, ()
    recipe = find_recipe(plain.recipe)
    configs = [
        load_config(cls, defaults={**recipe.settings, "encoder": encoder}, **sources)
        for encoder in recipe.encoders
    ]
    first = configs[0]
    # Alike where somebody named the encoder.
    if len({config.encoder for config in configs}) == 1:
        return first, ()
    chosen, reasons = _find_available(configs)
    remarks = [
        f"the recipe '{recipe.name}' asks for {first.encoder}, whose weights cannot be "
        f"had, so {chosen.encoder} is trained in its place: {reason}"
        for reason in reasons
    ]
    return chosen, tuple(remarks)


def describe_recipe(config: "TrainConfig") -> str | None:
    """Say which recipe settings follow, and where they do not.

    Returns:
        Such as `best, but for views = 1 (8)`; None without a recipe.
    """
    if config.recipe is None:
        return None
    recipe = find_recipe(config.recipe)
    wanted = {"encoder": recipe.encoders[0], **recipe.settings}
    found = asdict(config)
    departures = [
        f"{name} = {found[name]} ({value})"
        for name, value in wanted.items()
        if found[name] != value
    ]
    return ", ".join(
        [recipe.name, *([f"but for {', '.join(departures)}"] if departures else [])]
    )


def _find_available(configs: Sequence[Config]) -> tuple[Config, list[str]]:
    """Take the first whose encoder's weights can be had, and say why not others."""
    # Here, because Keras takes seconds.
    from eosin.models import build_encoder, find_encoder  # noqa: PLC0415

    reasons: list[str] = []
    for config in configs[:-1]:
        try:
            build_encoder(
                config.encoder,
                tile_px=find_encoder(config.encoder).tile_px,
                weights=config.weights,
                seed=config.seed,
            )
        except ModelError as error:
            reasons.append(str(error))
        else:
            return config, reasons
    return configs[-1], reasons
