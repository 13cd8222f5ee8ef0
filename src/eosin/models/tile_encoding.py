"""An encoder of tiles within a MIL model."""

from typing import Any

from eosin.models.keras_backend import keras

ops = keras.ops

_TILES_AT_ONCE = 8


class TileEncoding(keras.layers.Layer):
    """Encode every tile of bags, and average its feature map.

    Padding is encoded with the rest. Memory is bounded by a few tiles at a time, but
    for what the gradient needs; in training with batch normalisation that learns, all
    tiles of a step are one batch.

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
        step = None
        if not (training and self._learns_statistics()):
            # Keras keeps all that a model makes on its way until it is through.
            step = _TILES_AT_ONCE
        parts = [
            ops.mean(self.encoder(part, training=training), axis=(1, 2))
            for part in _cut(tiles, step)
        ]
        features = ops.concatenate(parts) if len(parts) > 1 else parts[0]
        return ops.reshape(features, (n_bags, n_instances, features.shape[-1]))

    def _learns_statistics(self) -> bool:
        """Say whether tiles share the statistics of a batch in training."""
        norm = keras.layers.BatchNormalization
        return any(isinstance(x, norm) and x.trainable for x in self.encoder.layers)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Give `(batch, instances, features)`."""
        return (*input_shape[:2], self.encoder.output_shape[-1])

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """Features have no mask."""


def _cut(tiles: Any, step: int | None) -> list[Any]:
    """Cut tiles into parts, where it is known how many there are."""
    n_tiles = tiles.shape[0]
    if step is None or n_tiles is None:
        return [tiles]
    return [tiles[start : start + step] for start in range(0, n_tiles, step)]
