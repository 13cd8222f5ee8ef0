"""P4M-DenseNet, which sees a tile and its turns and reflections as the same.

Veeling, Linmans, Winkens, Cohen and Welling, "Rotation equivariant CNNs for
digital pathology" (MICCAI 2018, arXiv 1806.03962): the network that came with
PatchCamelyon. Five dense blocks of one 3x3 convolution each, without padding, on
maps that hold all 8 orientations.
"""

from typing import Any

from eosin.core import ConfigError
from eosin.models.group_convolutions import (
    GroupBatchNormalization,
    GroupConvolution,
    GroupPooling,
    LiftingConvolution,
)
from eosin.models.keras_backend import keras

_BLOCKS = 5
# Every channel has 8 maps. These widths are 24 and 26, which the same network
# without orientations has, over the square root of 8, rounded.
_FIRST = 8
_GROWTH = 9
# A block takes 1 px from each side, and there are 4 halvings: only multiples of
# 16 px are even whenever they are halved.
_STEP_PX = 16


def run_p4m_densenet(tiles: Any) -> Any:
    """Map tiles to a feature map, `(batch, height / 16 - 4, width / 16 - 4, 53)`.

    A turned or reflected tile gives the turned or reflected feature map, so that its
    average over the places does not change. Tiles are of about unit scale, square, and
    a multiple of 16 px from 80 px on.

    Raises:
        ConfigError: The tiles' size is no multiple of 16 px.
    """
    layers = keras.layers
    _check_size(tiles)
    x = LiftingConvolution(_FIRST, name="lifting_conv")(tiles)
    width = _FIRST
    for block in range(1, _BLOCKS + 1):
        grown = _norm_relu(x, f"block{block}")
        grown = GroupConvolution(_GROWTH, name=f"block{block}_conv")(grown)
        cropped = layers.Cropping2D(1, name=f"block{block}_crop")(x)
        x = layers.Concatenate(name=f"block{block}_concat")([cropped, grown])
        width += _GROWTH
        if block < _BLOCKS:
            x = _norm_relu(x, f"transition{block}")
            # Before the 1x1 convolution, not behind it: the same numbers, since
            # both are linear, from a quarter of the work.
            x = layers.AveragePooling2D(2, name=f"transition{block}_pool")(x)
            x = GroupConvolution(width, 1, name=f"transition{block}_conv")(x)
    return GroupPooling(name="group_pool")(_norm_relu(x, "final"))


def _norm_relu(maps: Any, name: str) -> Any:
    # Short trainings need statistics that follow quickly (Keras: 0.99).
    maps = GroupBatchNormalization(momentum=0.9, name=f"{name}_norm")(maps)
    return keras.layers.ReLU(name=f"{name}_relu")(maps)


def _check_size(tiles: Any) -> None:
    height, width = tiles.shape[1:3]
    if height % _STEP_PX or width % _STEP_PX:
        raise ConfigError(
            f"p4m_densenet needs tiles of a multiple of {_STEP_PX} px (80, 96, 112, "
            f"...), or its maps cannot be halved in the middle, got {width} px; cut "
            "the tiles anew, or choose another encoder"
        )
