import numpy as np
import pytest

from eosin.bags import Bag
from eosin.core import ManifestError, ModelError
from eosin.models import (
    AGGREGATORS,
    build_mil_model,
    build_pixel_mil_model,
    predict_bags,
)

SIZES = (3, 40, 17, 1, 40)


def _make_bags(*sizes, dim=4):
    rng = np.random.default_rng(0)
    return [
        Bag(bag_id=f"S{i}", features=rng.normal(size=(size, dim)))
        for i, size in enumerate(sizes)
    ]


def test_every_bag_is_scored_in_its_place_with_all_its_instances():
    model = build_mil_model("attention", dimension=4, widths=(8,))
    bags = _make_bags(*SIZES)
    found = predict_bags(model, bags)
    assert [p.bag_id for p in found] == [b.bag_id for b in bags]
    for prediction, bag in zip(found, bags, strict=True):
        (alone,) = predict_bags(model, [bag])
        assert prediction.logits.shape == (1,)
        assert prediction.attention.shape == (len(bag),)
        assert prediction.instance_logits.shape == (len(bag), 1)
        np.testing.assert_allclose(prediction.logits, alone.logits, atol=1e-6)
        np.testing.assert_allclose(prediction.attention.sum(), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name, spec in AGGREGATORS.items() if spec.n_instances is None]
)
def test_a_bag_in_parts_gives_the_same_as_a_whole_one(name):
    model = build_mil_model(name, dimension=4, widths=(8,), n_classes=3)
    bags = _make_bags(*SIZES)
    whole = predict_bags(model, bags)
    parts = predict_bags(model, bags, max_padded=7)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-5)
        np.testing.assert_allclose(a.attention, b.attention, atol=1e-5)


def test_a_fixed_size_is_padded_to_and_not_passed():
    model = build_mil_model("concat40", dimension=4)
    assert len(predict_bags(model, _make_bags(40, 12), max_padded=10)) == 2
    with pytest.raises(ManifestError, match="S0: this model takes bags of at most 40"):
        predict_bags(model, _make_bags(41))


def test_no_bags_give_no_predictions():
    assert predict_bags(build_mil_model("mean", dimension=4), []) == []


def test_other_features_are_refused():
    model = build_mil_model("mean", dimension=4)
    with pytest.raises(ModelError, match=r"S0: the model takes 4 features.*got 5"):
        predict_bags(model, _make_bags(3, dim=5))


class Counted:
    """An array that counts how often its rows are read, and how many at once."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.sizes = []

    def __getitem__(self, rows):
        found = self._array[rows]
        self.sizes.append(len(found))
        return found


@pytest.mark.parametrize("n_tiles", [3, 11])
def test_tiles_are_read_once_and_chunks_change_nothing(n_tiles):
    model = build_pixel_mil_model(
        "gated_attention", "smallcnn", tile_px=16, weights="none", seed=0
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n_tiles, 16 * 16 * 3), np.uint8)
    counted = Counted(pixels)
    bag = Bag(bag_id="B", features=counted)
    (found,) = predict_bags(model, [bag], max_padded=4)
    assert sum(counted.sizes) == n_tiles
    inputs = {
        "features": pixels[None].astype(np.float32),
        "mask": np.ones((1, n_tiles), bool),
    }
    whole = model.predict_on_batch(inputs)
    np.testing.assert_allclose(found.logits, whole["logits"][0], atol=1e-5)
    np.testing.assert_allclose(found.attention, whole["attention"][0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gated_attention", "clam_sb", "dsmil", "transmil"])
def test_a_bag_of_200000_instances_is_scored_in_bounded_memory(name, tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "features.npy"
    features = np.lib.format.open_memmap(path, "w+", np.float32, (200_000, 64))
    features[:] = np.random.default_rng(0).normal(size=(200_000, 64))
    bag = Bag(bag_id="large", features=features)
    model = build_mil_model(name, dimension=64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (found,) = predict_bags(model, [bag])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.testing.assert_allclose(found.attention.sum(), 1, rtol=1e-3)
    # Kilobytes; the projected bag alone is 0.2 GB.
    assert grown < 2_000_000
