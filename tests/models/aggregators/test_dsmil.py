import numpy as np
from scipy.special import softmax

from eosin.models.aggregators.dsmil import DSMIL
from eosin.models.keras_backend import keras

ops = keras.ops


def _expect(layer, features, mask):
    """Both streams of one bag, by NumPy."""
    real = features[mask]
    kernel, bias = layer.instances.get_weights()
    logits = real @ kernel + bias
    (v, a), (w, b) = layer.query_hidden.get_weights(), layer.query.get_weights()
    queries = np.tanh(np.maximum(real @ v + a, 0) @ w + b)
    critical = queries[logits.argmax(axis=0)]
    attention = softmax(queries @ critical.T / np.sqrt(layer.units), axis=0)
    kernel, bias = layer.head.get_weights()
    return logits.max(axis=0), (attention.T @ real).reshape(-1) @ kernel + bias


def test_both_streams_are_as_in_the_paper(bags, run):
    features, mask = bags
    layer = DSMIL(2, units=5)
    outputs = run(layer, features, mask)
    for row in range(3):
        critical, bag = _expect(layer, features[row], mask[row])
        np.testing.assert_allclose(outputs["critical_logits"][row], critical, atol=1e-5)
        np.testing.assert_allclose(outputs["bag_logits"][row], bag, atol=1e-5)
        np.testing.assert_allclose(
            outputs["logits"][row], (critical + bag) / 2, atol=1e-5
        )


def test_the_loss_is_the_mean_of_both_streams(bags, run):
    features, mask = bags
    layer = DSMIL(1, units=5)
    outputs = {
        key: ops.convert_to_tensor(value)
        for key, value in run(layer, features, mask).items()
    }
    found = layer.find_loss(
        None, outputs, None, lambda labels, logits: logits[:, 0] ** 2
    )
    expected = (outputs["critical_logits"] ** 2 + outputs["bag_logits"] ** 2) / 2
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-6)
