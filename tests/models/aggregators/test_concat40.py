import numpy as np
import pytest

from eosin.models.aggregators.concat40 import Concat40


def test_every_place_has_weights_of_its_own(rng, run):
    features = rng.normal(size=(2, 40, 3)).astype(np.float32)
    layer = Concat40(1, units=4)
    outputs = run(layer, features)
    kernel, bias = layer.head.get_weights()
    assert kernel.shape == (40 * 3, 1)
    scaled = outputs["attention"][..., None] * features
    expected = scaled.reshape(2, -1) @ kernel + bias
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("n", [39, 41])
def test_other_sizes_are_refused(run, n):
    with pytest.raises(ValueError, match=f"exactly 40 instances, got {n}"):
        run(Concat40(1), np.zeros((1, n, 3), np.float32))
