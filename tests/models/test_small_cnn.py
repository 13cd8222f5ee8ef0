from eosin.models.keras_backend import keras
from eosin.models.small_cnn import run_small_cnn


def test_the_feature_map_is_a_sixteenth_of_the_tile():
    tiles = keras.Input((96, 96, 3))
    assert run_small_cnn(tiles).shape == (None, 6, 6, 192)


def test_its_weights_are_counted_by_hand():
    tiles = keras.Input((32, 32, 3))
    model = keras.Model(tiles, run_small_cnn(tiles))
    kernels = 9 * (3 * 24 + 24 * 48 + 48 * 96 + 96 * 192)
    normalisation = 4 * (24 + 48 + 96 + 192)
    assert model.count_params() == kernels + normalisation
