"""An encoder of tiles within a MIL model."""

from typing import Any

from eosin.models.keras_backend import keras
from eosin.models.registry import find_encoder_of

ops = keras.ops


class TileEncoding(keras.layers.Layer):
    """Encode every tile of bags, and average its feature map.

    Padding is encoded with the rest.

    Args:
        encoder: From `build_encoder`; its weights become this layer's.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        bags: `(batch, instances, px * px * 3)`, in 0..255.

    Returns:
        `(batch, instances, features)`.
    """

    def __init__(self, encoder: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder

    def build(self, input_shape: Any) -> None:
        """Find the encoder built."""
        super().build(input_shape)

    def call(self, bags: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' signature
        """Run as the class says."""
        tile = self.encoder.input_shape[1:]
        n_bags, n_instances = ops.shape(bags)[:2]
        tiles = ops.reshape(bags, (-1, *tile))
        maps = self.encoder(tiles, training=training)
        features = ops.mean(maps, axis=(1, 2))
        return ops.reshape(features, (n_bags, n_instances, maps.shape[-1]))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Give `(batch, instances, features)`."""
        return (*input_shape[:2], self.encoder.output_shape[-1])

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Features have no mask."""


def find_early_layers(encoder: Any) -> list[Any]:
    """List an encoder's layers before its last block.

    Args:
        encoder: From `build_encoder`.
    """
    names = [layer.name for layer in encoder.layers]
    return list(encoder.layers[: names.index(find_encoder_of(encoder).last_block)])
