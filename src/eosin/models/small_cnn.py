"""A small network to train from scratch, on a CPU, in about a minute."""

from typing import Any

from eosin.models.keras_backend import keras

_WIDTHS = (24, 48, 96, 192)


def run_small_cnn(tiles: Any) -> Any:
    """Map tiles of about unit scale to `(batch, height / 16, width / 16, 192)`.

    Four 3x3 convolutions, each with batch normalisation and ReLU; the first has a
    stride of 2, and a 2x2 maximum stands between every two.
    """
    layers = keras.layers
    x = layers.ZeroPadding2D(1, name="block1_pad")(tiles)
    for block, width in enumerate(_WIDTHS, start=1):
        x = layers.Conv2D(
            width,
            3,
            strides=2 if block == 1 else 1,
            padding="valid" if block == 1 else "same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"block{block}_conv",
        )(x)
        # Short trainings need statistics that follow quickly (Keras: 0.99).
        x = layers.BatchNormalization(momentum=0.9, name=f"block{block}_norm")(x)
        x = layers.ReLU(name=f"block{block}_relu")(x)
        if block < len(_WIDTHS):
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return x
