import numpy as np
from sklearn.linear_model import LogisticRegression

from eosin.models import AGGREGATORS, build_mil_model
from eosin.models.aggregators.linear_probe import LinearProbe
from eosin.models.aggregators.mean import MeanAggregator


def test_no_layer_comes_before_it():
    assert not AGGREGATORS["linear_probe"].has_projection
    model = build_mil_model("linear_probe", dimension=6, widths=(16,))
    assert model.count_params() == 6 + 1 + 2 * 6 + 1  # weights, bias and the scaling
    assert model.trainable_variables[0].shape == (6, 1)


def test_with_scikit_learns_weights_it_says_what_scikit_learn_says(rng, run):
    features = rng.normal(size=(30, 4, 3)).astype(np.float32)
    labels = np.arange(30) % 2
    features[labels == 1] += 0.5
    oracle = LogisticRegression().fit(features.mean(axis=1), labels)
    layer = LinearProbe(1)
    layer.build((None, None, 3))
    layer.head.set_weights([oracle.coef_.T, oracle.intercept_])
    logits = run(layer, features)["logits"][:, 0]
    expected = oracle.decision_function(features.mean(axis=1))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_logit_is_that_of_the_mean_instance(bags, run):
    features, mask = bags
    layer = MeanAggregator(2, seed=1)
    outputs = run(layer, features, mask)
    kernel, bias = layer.head.get_weights()
    for row, size in enumerate((9, 5, 1)):
        expected = features[row, :size].mean(axis=0) @ kernel + bias
        np.testing.assert_allclose(outputs["logits"][row], expected, atol=1e-6)
        np.testing.assert_allclose(outputs["attention"][row, :size], 1 / size)
    assert (outputs["logits"][3] == 0).all()
