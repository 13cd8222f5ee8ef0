import numpy as np
import pytest

from eosin.models.keras_backend import keras
from eosin.models.preprocessing import (
    CENTRED_BGR,
    IMAGENET_STATISTICS,
    SIGNED_UNIT,
    preprocess,
)


def _run(preprocessing, tiles):
    model_input = keras.Input(tiles.shape[1:], dtype="float32")
    model = keras.Model(model_input, preprocess(model_input, preprocessing))
    return model.predict_on_batch(tiles)


@pytest.mark.parametrize(
    ("preprocessing", "oracle"),
    [
        (SIGNED_UNIT, keras.applications.xception.preprocess_input),
        (SIGNED_UNIT, keras.applications.mobilenet_v2.preprocess_input),
        (IMAGENET_STATISTICS, keras.applications.densenet.preprocess_input),
        (CENTRED_BGR, keras.applications.resnet50.preprocess_input),
    ],
)
def test_preprocessing_is_that_of_keras(preprocessing, oracle, tiles):
    np.testing.assert_allclose(
        _run(preprocessing, tiles), oracle(tiles.astype("float32")), atol=1e-4
    )


def test_red_becomes_the_last_channel_in_bgr():
    tile = np.zeros((1, 1, 1, 3), np.uint8)
    tile[..., 0] = 200
    np.testing.assert_allclose(
        _run(CENTRED_BGR, tile).ravel(), [-103.939, -116.779, 200 - 123.68], rtol=1e-6
    )
