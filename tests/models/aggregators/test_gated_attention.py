import numpy as np
from scipy.special import expit, softmax

from eosin.models.aggregators.gated_attention import GatedAttentionAggregator


def test_attention_is_as_in_the_paper(bags, run):
    features, _ = bags
    layer = GatedAttentionAggregator(1, units=5)
    outputs = run(layer, features)
    scores = layer.scores
    (v, a), (w, b), (u, c) = (
        part.get_weights() for part in (scores.content, scores.score, scores.gate)
    )
    gated = np.tanh(features @ v + a) * expit(features @ u + c)
    expected = softmax(gated @ w + b, axis=1)[..., 0]
    np.testing.assert_allclose(outputs["attention"], expected, rtol=1e-4)
    pooled = np.einsum("bi,bif->bf", expected, features)
    kernel, bias = layer.head.get_weights()
    np.testing.assert_allclose(outputs["logits"], pooled @ kernel + bias, atol=1e-5)
