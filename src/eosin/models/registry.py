"""The encoders that eosin knows, and what must be known of each."""

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from eosin.core import ConfigError, ModelError, suggest
from eosin.models.keras_backend import keras
from eosin.models.p4m_densenet import run_p4m_densenet
from eosin.models.preprocessing import (
    CENTRED_BGR,
    IMAGENET_STATISTICS,
    SIGNED_UNIT,
    Preprocessing,
)
from eosin.models.small_cnn import run_small_cnn

_IMAGENET_LICENCE = (
    "Keras Applications weights (Apache-2.0 code), trained on ImageNet, "
    "whose terms allow non-commercial research and education"
)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """What one encoder is, before any of it is built.

    Attributes:
        name: Its name on the command line and in `card.json`.
        build: Function of a preprocessed tensor `(batch, px, px, 3)`, and of the
            weights (`imagenet` or None) where any are published, that gives the
            feature map.
        preprocessing: What it expects of its pixels.
        dimension: Features per tile.
        n_parameters: Numbers in its weights, without any head.
        last_block: The layer that opens the last block. The model is cut
            before it when only that block is fine-tuned.
        tile_px: The tile size that it was made for, in pixels.
        min_tile_px: The smallest tile that it can take, in pixels.
        imagenet_licence: Terms of its ImageNet weights. None where there are
            no such weights.
        has_dynamic_export: Whether Keras' torch backend can write it to ONNX
            with a batch of any size in one go.
        map_layer: The layer that Grad-CAM looks at where none is named; None for the
            last feature map.
    """

    name: str
    build: Callable[..., Any]
    preprocessing: Preprocessing
    dimension: int
    n_parameters: int
    last_block: str
    tile_px: int = 224
    min_tile_px: int = 32
    imagenet_licence: str | None = _IMAGENET_LICENCE
    has_dynamic_export: bool = True
    map_layer: str | None = None


def find_encoder(name: str) -> EncoderSpec:
    """Look an encoder up by its name.

    Raises:
        ConfigError: No encoder has this name.
    """
    if name not in ENCODERS:
        raise ConfigError(
            f"encoder must be one of {', '.join(ENCODERS)}; got '{name}'"
            f"{suggest(name, ENCODERS)}"
        )
    return ENCODERS[name]


def find_encoder_of(model: Any) -> EncoderSpec:
    """Look up the encoder that a model of eosin was built on.

    Raises:
        ModelError: The model does not carry an encoder's name.
    """
    if model.name not in ENCODERS:
        raise ModelError(
            f"a model of eosin carries its encoder's name ({', '.join(ENCODERS)}); "
            f"this one is called '{model.name}'; build it with build_classifier"
        )
    return ENCODERS[model.name]


def _run_application(
    tiles: Any, weights: str | None, *, application: Callable[..., Any], **options: Any
) -> Any:
    """Run one of keras.applications on tiles that are already preprocessed."""
    with warnings.catch_warnings():
        # MobileNetV2 says so at every size that it has no weights for; those of
        # 224 px are right at all of them, because nothing in it depends on it.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined")
        return application(
            include_top=False,
            weights=weights,
            input_tensor=tiles,
            input_shape=tuple(tiles.shape[1:]),
            **options,
        ).output


def _from_keras(application: Callable[..., Any], **options: Any) -> Any:
    return functools.partial(_run_application, application=application, **options)


_APPLICATIONS = keras.applications
_SPECS = (
    EncoderSpec(
        name="xception",
        build=_from_keras(_APPLICATIONS.Xception),
        preprocessing=SIGNED_UNIT,
        dimension=2048,
        n_parameters=20_861_480,
        tile_px=299,
        min_tile_px=71,
        last_block="block14_sepconv1",
        has_dynamic_export=False,
    ),
    EncoderSpec(
        name="mobilenetv2",
        build=_from_keras(_APPLICATIONS.MobileNetV2),
        preprocessing=SIGNED_UNIT,
        dimension=1280,
        n_parameters=2_257_984,
        last_block="block_13_expand",
    ),
    EncoderSpec(
        name="densenet121",
        build=_from_keras(_APPLICATIONS.DenseNet121),
        preprocessing=IMAGENET_STATISTICS,
        dimension=1024,
        n_parameters=7_037_504,
        last_block="conv5_block1_0_bn",
    ),
    EncoderSpec(
        name="densenet169",
        build=_from_keras(_APPLICATIONS.DenseNet169),
        preprocessing=IMAGENET_STATISTICS,
        dimension=1664,
        n_parameters=12_642_880,
        last_block="conv5_block1_0_bn",
    ),
    EncoderSpec(
        name="resnet50",
        build=_from_keras(_APPLICATIONS.ResNet50),
        preprocessing=CENTRED_BGR,
        dimension=2048,
        n_parameters=23_587_712,
        last_block="conv5_block2_1_conv",
    ),
    EncoderSpec(
        name="efficientnetv2b0",
        build=_from_keras(_APPLICATIONS.EfficientNetV2B0, include_preprocessing=False),
        preprocessing=IMAGENET_STATISTICS,
        dimension=1280,
        n_parameters=5_919_312,
        last_block="block6a_expand_conv",
    ),
    EncoderSpec(
        name="convnexttiny",
        build=_from_keras(_APPLICATIONS.ConvNeXtTiny, include_preprocessing=False),
        preprocessing=IMAGENET_STATISTICS,
        dimension=768,
        n_parameters=27_820_128,
        last_block="convnext_tiny_stage_3_block_0_depthwise_conv",
        has_dynamic_export=False,
    ),
    EncoderSpec(
        name="smallcnn",
        build=run_small_cnn,
        preprocessing=SIGNED_UNIT,
        dimension=192,
        n_parameters=219_816,
        tile_px=128,
        min_tile_px=16,
        last_block="block4_conv",
        imagenet_licence=None,
        # A place of the last map sees 73 px, and lights up wherever a finding
        # lies in them; one of this map sees 33 px.
        map_layer="block3_relu",
    ),
    EncoderSpec(
        name="p4m_densenet",
        build=run_p4m_densenet,
        preprocessing=SIGNED_UNIT,
        dimension=53,
        n_parameters=118_684,
        tile_px=96,
        min_tile_px=80,
        last_block="block5_norm",
        imagenet_licence=None,
        # The last map has 2 places a side at 96 px, this one 8.
        map_layer="transition4_relu",
    ),
)

ENCODERS: Mapping[str, EncoderSpec] = MappingProxyType({s.name: s for s in _SPECS})
"""Every encoder by its name; what is added here is tested by the contract test."""
