import numpy as np
from scipy.special import softmax

from eosin.models.aggregators.clam_mb import CLAMMB


def test_every_class_has_its_branch_and_its_classifier(bags, run):
    features, _ = bags
    layer = CLAMMB(3, units=5)
    outputs = run(layer, features)
    attention = softmax(outputs["attention_scores"], axis=1)
    for label, head in enumerate(layer.heads):
        pooled = np.einsum("bi,bif->bf", attention[..., label], features)
        kernel, bias = head.get_weights()
        expected = (pooled @ kernel + bias)[:, 0]
        np.testing.assert_allclose(outputs["logits"][:, label], expected, atol=1e-5)
    best = outputs["logits"].argmax(axis=1)
    np.testing.assert_allclose(
        outputs["attention"], attention[np.arange(4), :, best], rtol=1e-5
    )


def test_one_output_is_the_positive_branch_minus_the_negative(bags, run):
    features, _ = bags
    layer = CLAMMB(1, units=5)
    outputs = run(layer, features)
    attention = softmax(outputs["attention_scores"], axis=1)
    negative, positive = (
        np.einsum("bi,bif,fo->bo", attention[..., label], features, kernel) + bias
        for label, (kernel, bias) in enumerate(h.get_weights() for h in layer.heads)
    )
    np.testing.assert_allclose(outputs["logits"], positive - negative, atol=1e-5)
    np.testing.assert_allclose(outputs["attention"], attention[..., 1], rtol=1e-5)
