import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def bags(rng):
    """Four bags of 6 features: of 9, 5, 1 and no instances, padded to 9."""
    features = rng.normal(size=(4, 9, 6)).astype(np.float32)
    mask = np.arange(9) < np.array([9, 5, 1, 0])[:, None]
    return features, mask


@pytest.fixture
def run():
    """Run a layer without gradients and give arrays; it must have been built."""
    from eosin.models.keras_backend import keras

    def run(layer, features, mask=None):
        inputs = keras.Input(features.shape[1:])
        if mask is None:
            model = keras.Model(inputs, layer(inputs))
            return model.predict_on_batch(features)
        shown = keras.Input(mask.shape[1:], dtype="bool")
        model = keras.Model([inputs, shown], layer(inputs, mask=shown))
        return model.predict_on_batch([features, mask])

    return run
