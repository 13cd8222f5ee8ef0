import h5py
import numpy as np
import pytest

from eosin.bags import Bag, check_bags
from eosin.core import ManifestError


def make_bag(n=5, dim=3, **fields):
    features = np.random.default_rng(0).normal(size=(n, dim))
    return Bag(**{"bag_id": "S1", "features": features, **fields})


def test_a_bag_holds_float32_and_knows_its_size():
    bag = make_bag(label=1, patient_id="P1", slide_ids=("S1",))
    assert (len(bag), bag.n_features) == (5, 3)
    assert bag.features.dtype == np.float32
    assert len(make_bag(n=1)) == 1


def test_rows_are_read_as_they_are_asked_for():
    bag = make_bag()
    np.testing.assert_array_equal(bag.read(), bag.features)
    np.testing.assert_array_equal(bag.read(np.array([1, 4])), bag.features[[1, 4]])
    np.testing.assert_array_equal(bag.read(slice(2, 4)), bag.features[2:4])


def test_blocks_cover_a_bag_once(monkeypatch):
    monkeypatch.setattr("eosin.bags.bag._BLOCK_NUMBERS", 6)
    bag = make_bag()
    blocks = bag.list_blocks()
    assert len(blocks) == 3
    np.testing.assert_array_equal(
        np.concatenate([bag.read(block) for block in blocks]), bag.features
    )


def test_a_memory_map_is_not_copied(tmp_path):
    path = tmp_path / "features.npy"
    np.save(path, np.ones((4, 2), np.float32))
    features = np.load(path, mmap_mode="r")
    assert np.shares_memory(make_bag(features=features).features, features)


def test_an_hdf5_data_set_is_read_only_when_asked(tmp_path):
    array = np.arange(12, dtype=np.float16).reshape(6, 2)
    array[4, 1] = np.inf
    with h5py.File(tmp_path / "bag.h5", "w") as file:
        bag = make_bag(features=file.create_dataset("features", data=array))
        np.testing.assert_array_equal(bag.read(np.array([0, 3])), array[[0, 3]])
        assert bag.read(slice(0, 2)).dtype == np.float32
        with pytest.raises(ManifestError, match="got inf at instance 4, feature 1"):
            bag.read(np.array([1, 4]))
        with pytest.raises(ManifestError, match="got inf at instance 4, feature 1"):
            bag.read()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_value_that_is_not_finite_is_named(value, monkeypatch):
    monkeypatch.setattr("eosin.bags.bag._BLOCK_NUMBERS", 6)
    features = np.zeros((5, 3))
    features[3, 1] = features[4, 0] = value
    message = f"S1: features must be finite, got {value} at instance 3, feature 1"
    with pytest.raises(ManifestError, match=message):
        make_bag(features=features)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bag_id": ""}, "needs an id"),
        ({"features": np.empty((0, 3))}, r"S1: .* one instance or more, .*\(0, 3\)"),
        ({"features": np.empty((3, 0))}, r"S1: .* one instance or more, .*\(3, 0\)"),
        ({"features": np.zeros(3)}, r"\(instances, features\), got .*\(3,\)"),
        ({"features": np.array([["a"]])}, "must be real numbers, got <U1"),
        ({"label": -1}, "a label must be 0 or more, got -1"),
        ({"coords": np.zeros((4, 2))}, r"coords must be 5 finite pairs.*\(4, 2\)"),
        ({"coords": np.full((5, 2), np.nan)}, "coords must be 5 finite pairs"),
        ({"instance_labels": np.zeros(4, int)}, "instance_labels must be 5 whole"),
        ({"instance_labels": np.zeros(5)}, "whole numbers.* got float64"),
    ],
)
def test_what_does_not_fit_a_bag_is_refused(fields, message):
    with pytest.raises(ManifestError, match=message):
        make_bag(**fields)


def test_bags_that_do_not_fit_each_other_are_named():
    check_bags([make_bag(), make_bag(bag_id="S2", coords=np.zeros((5, 2)))])
    with pytest.raises(ManifestError, match="one bag or more"):
        check_bags([])
    with pytest.raises(ManifestError, match=r"1 have 3, .* S2 \(4\)"):
        check_bags([make_bag(), make_bag(dim=4, bag_id="S2")])
    with pytest.raises(ManifestError, match="two bags have the id S1"):
        check_bags([make_bag(), make_bag()])
