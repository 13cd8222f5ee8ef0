"""What each encoder expects of its pixels, as part of the model's graph."""

from dataclasses import dataclass
from typing import Any

from eosin.models.keras_backend import keras


@dataclass(frozen=True)
class Preprocessing:
    """A linear map of raw RGB, and whether the channels are turned round after it.

    `scale` is the factor of R, G and B, and `offset` what is added to each afterwards.
    """

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    is_bgr: bool = False


SIGNED_UNIT = Preprocessing((1 / 127.5,) * 3, (-1.0,) * 3)
"""From -1 to 1 (Keras' mode `tf`)."""

IMAGENET_STATISTICS = Preprocessing(
    (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
    (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
)
"""Minus ImageNet's mean, over its standard deviation (Keras' mode `torch`)."""

CENTRED_BGR = Preprocessing((1.0,) * 3, (-123.68, -116.779, -103.939), is_bgr=True)
"""BGR minus ImageNet's mean, not scaled (Keras' mode `caffe`)."""


def preprocess(tiles: Any, preprocessing: Preprocessing) -> Any:
    """Map raw tiles, RGB in 0..255, to what an encoder expects, within its graph."""
    # float32 under any dtype policy: half precision cannot tell raw pixels apart
    # finely enough once they are scaled.
    tiles = keras.layers.Rescaling(
        list(preprocessing.scale),
        offset=list(preprocessing.offset),
        dtype="float32",
        name="preprocessing",
    )(tiles)
    return keras.ops.flip(tiles, axis=-1) if preprocessing.is_bgr else tiles
