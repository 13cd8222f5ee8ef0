import numpy as np
import pytest

from eosin.models.aggregators.transmil import TransMIL


def test_bags_larger_than_the_landmarks_do_not_mind_the_order(rng, run):
    features = rng.normal(size=(2, 150, 8)).astype(np.float32)
    mask = np.arange(150) < np.array([150, 120])[:, None]
    layer = TransMIL(1, units=16, heads=4, landmarks=8)
    expected = run(layer, features, mask)
    order = rng.permutation(150)
    found = run(layer, features[:, order], mask[:, order])
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
    np.testing.assert_allclose(
        found["attention"], expected["attention"][:, order], atol=1e-5
    )


def test_instances_are_seen_together(bags, run):
    """A mean of instances' logits would not do this."""
    features, _ = bags
    layer = TransMIL(1, units=8, heads=2, landmarks=4)
    pair = np.stack([features[0, :2], features[0, 1:3], features[0, [0, 2]]])
    both = run(layer, pair)["logits"][:, 0]
    alone = run(layer, features[0, :3, None])["logits"][:, 0]
    means = (alone[[0, 1, 0]] + alone[[1, 2, 2]]) / 2
    assert np.abs(both - means).max() > 1e-3


@pytest.mark.parametrize(
    "options", [{"units": 10, "heads": 4}, {"heads": 0}, {"landmarks": 0}]
)
def test_heads_divide_the_units(options):
    with pytest.raises(ValueError, match="units a multiple of heads"):
        TransMIL(1, **options)
