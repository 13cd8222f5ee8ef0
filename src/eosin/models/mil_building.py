"""Untrained MIL models, checked before they are built."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eosin.bags import ClinicalEncoding
from eosin.core import ConfigError
from eosin.models.aggregators import find_aggregator
from eosin.models.encoders import build_encoder
from eosin.models.mil_body import MILPrecision
from eosin.models.mil_models import MILModel

# Arguments of a method that the model gives by itself.
_OURS = {"n_outputs", "seed", "kwargs"}


def build_mil_model(  # noqa: PLR0913 - each says another thing of the model
    aggregator: str,
    *,
    dimension: int,
    n_classes: int = 2,
    widths: Sequence[int] = (256,),
    dropout: float = 0.25,
    precision: MILPrecision = "float32",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    clinical: ClinicalEncoding | None = None,
) -> MILModel:
    """Build an untrained MIL model.

    Args:
        aggregator: One of `AGGREGATORS`.
        dimension: Features per instance.
        n_classes: Classes, the negative one included; at least 2.
        widths: Widths of the dense layers before the aggregator, which see the
            instances one by one. A method without a projection has none.
        dropout: Share of the projected features that training drops, [0, 1).
        precision: dtype of the computation; weights, softmax and logits are
            float32 always. Training scales no loss, so it is for bfloat16 and
            float32; float16 is for prediction.
        seed: Seed of the weights and of dropout.
        options: Arguments of the method, such as `{"k": 8}`.
        clinical: Encodes the clinical columns that it takes besides. None takes none.

    Returns:
        A model that takes `{"features", "mask"}` and gives a dictionary with
        `logits`, `(batch, 1)` for two classes (above 0 means label 1), otherwise
        `(batch, n_classes)`.

    Raises:
        ConfigError: The method is unknown, does not have such an option, or a
            number is out of range.
    """
    spec = find_aggregator(aggregator)
    if n_classes < 2:
        raise ConfigError(f"a MIL model needs 2 classes or more, got {n_classes}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
    if dimension < 1 or any(width < 1 for width in widths):
        raise ConfigError(
            f"dimension and widths must be 1 or more, got {dimension} and {widths}"
        )
    return _make_model(
        aggregator=aggregator,
        dimension=dimension,
        n_classes=n_classes,
        widths=widths if spec.has_projection else (),
        dropout=dropout if spec.has_projection else 0.0,
        precision=precision,
        seed=seed,
        options=dict(options or {}),
        clinical=None if clinical is None else clinical.to_config(),
    )


def build_pixel_mil_model(
    aggregator: str,
    encoder: str,
    *,
    tile_px: int,
    weights: str | Path = "imagenet",
    n_classes: int = 2,
    widths: Sequence[int] = (128,),
    dropout: float = 0.25,
    seed: int = 0,
) -> MILModel:
    """Build a MIL model that takes tiles' pixels and trains their encoder with it.

    Args:
        aggregator: One of `AGGREGATORS`.
        encoder: One of `ENCODERS`.
        tile_px: Side of the tiles, in pixels.
        weights: The encoder's first weights, as for `build_encoder`.
        n_classes: Classes, the negative one included; at least 2.
        widths: Widths of the dense layers between encoder and aggregator.
        dropout: Share of the projected features that training drops, [0, 1).
        seed: Seed of the weights and of dropout.

    Returns:
        A model whose instances are `(tile_px * tile_px * 3,)` in 0..255.

    Raises:
        ConfigError: A name is unknown, or a number is out of range.
        ModelError: The weights cannot be had or do not fit.
    """
    if n_classes < 2:
        raise ConfigError(f"a MIL model needs 2 classes or more, got {n_classes}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
    start = build_encoder(encoder, tile_px=tile_px, weights=weights, seed=seed)
    has_projection = find_aggregator(aggregator).has_projection
    model = _make_model(
        aggregator=aggregator,
        dimension=3 * tile_px**2,
        n_classes=n_classes,
        widths=widths if has_projection else (),
        dropout=dropout if has_projection else 0.0,
        precision="float32",
        seed=seed,
        options={},
        encoder={"name": encoder, "tile_px": tile_px},
    )
    model.encoder.set_weights(start.get_weights())
    return model


def _make_model(
    *, aggregator: str, options: dict[str, Any], **arguments: Any
) -> MILModel:
    """Build a model, and say it in words where the method does not take an option."""
    known = (
        inspect.signature(find_aggregator(aggregator).layer).parameters.keys() - _OURS
    )
    if unknown := options.keys() - known:
        raise ConfigError(
            f"{aggregator} has no option {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    try:
        return MILModel(aggregator=aggregator, options=options, **arguments)
    except ValueError as error:
        raise ConfigError(f"{aggregator}: {error}") from error
