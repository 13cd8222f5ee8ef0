import keras
import numpy as np

from eosin.models import build_encoder
from eosin.models.tile_encoding import TileEncoding


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.stop_gradient(tensor))


BAGS = np.random.default_rng(0).integers(0, 256, (2, 3, 32 * 32 * 3)).astype(np.float32)


def test_every_tile_is_encoded_by_itself():
    encoder = build_encoder("smallcnn", tile_px=32, weights="none", seed=1)
    layer = TileEncoding(encoder)
    found = to_numpy(layer(BAGS, training=False))
    tiles = BAGS.reshape(6, 32, 32, 3)
    expected = encoder.predict(tiles, verbose=0).mean(axis=(1, 2)).reshape(2, 3, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape((None, None, BAGS.shape[2])) == (None, None, 192)
    # Its weights are the encoder's.
    assert len(layer.weights) == len(encoder.weights)


def test_parts_of_many_tiles_give_the_same_as_all_at_once():
    encoder = build_encoder("smallcnn", tile_px=32, weights="none", seed=1)
    layer = TileEncoding(encoder)
    tiles = np.random.default_rng(1).integers(0, 256, (1, 19, 3072)).astype(np.float32)
    found = to_numpy(layer(tiles, training=False))
    expected = encoder.predict(tiles.reshape(19, 32, 32, 3), verbose=0)
    np.testing.assert_allclose(
        found[0], expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5
    )


def test_learning_statistics_sees_all_tiles_as_one_batch():
    encoder = build_encoder("smallcnn", tile_px=32, weights="none", seed=1)
    layer = TileEncoding(encoder)
    tiles = np.random.default_rng(1).integers(0, 256, (1, 19, 3072)).astype(np.float32)
    found = to_numpy(layer(tiles, training=True))
    other = build_encoder("smallcnn", tile_px=32, weights="none", seed=1)
    maps = other(tiles.reshape(19, 32, 32, 3), training=True)
    expected = to_numpy(maps).mean(axis=(1, 2))
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
