import keras
import numpy as np

from eosin.models import build_encoder
from eosin.models.tile_encoding import TileEncoding

BAGS = np.random.default_rng(0).integers(0, 256, (2, 3, 32 * 32 * 3)).astype(np.float32)


def test_every_tile_is_encoded_by_itself():
    encoder = build_encoder("smallcnn", tile_px=32, weights="none", seed=1)
    layer = TileEncoding(encoder)
    found = keras.ops.convert_to_numpy(layer(BAGS, training=False))
    tiles = BAGS.reshape(6, 32, 32, 3)
    expected = encoder.predict(tiles, verbose=0).mean(axis=(1, 2)).reshape(2, 3, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape((None, None, BAGS.shape[2])) == (None, None, 192)
    # Its weights are the encoder's.
    assert len(layer.weights) == len(encoder.weights)
