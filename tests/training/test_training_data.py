from dataclasses import replace

import numpy as np
import pytest

from eosin.bags import Bag
from eosin.core import ConfigError, ManifestError
from eosin.training import TrainingBags


def test_a_split_without_tiles_is_refused(tiles):
    with pytest.raises(ConfigError, match="no labelled tile is in val"):
        replace(tiles, val_rows=np.array([], int))


def test_only_one_class_in_train_is_refused(tiles):
    labels = tiles.labels.copy()
    labels[tiles.train_rows] = 0
    with pytest.raises(ConfigError, match="has none of 'tumour'"):
        replace(tiles, labels=labels)


def test_a_class_absent_from_val_is_named_not_refused(tiles):
    labels = tiles.labels.copy()
    labels[tiles.val_rows] = 1
    changed = replace(tiles, labels=labels)
    assert changed.find_missing(changed.val_rows) == ["normal"]


def test_rows_on_both_sides_are_refused(tiles):
    with pytest.raises(ConfigError, match="10 tiles are in train and in val"):
        replace(tiles, val_rows=np.arange(140, 200))


def test_rows_outside_the_table_are_refused(tiles):
    with pytest.raises(ConfigError, match=r"rows of val must be in 0\.\.239"):
        replace(tiles, val_rows=np.array([240]))


def test_labels_without_a_class_are_refused(tiles):
    labels = tiles.labels.copy()
    labels[0] = -1
    with pytest.raises(
        ConfigError, match=r"tile 0 in train needs a label in 0\.\.1 .* got none"
    ):
        replace(tiles, labels=labels)


def test_labels_outside_both_splits_may_be_anything(tiles):
    labels = tiles.labels.copy()
    labels[-1] = -1
    replace(tiles, labels=labels, val_rows=tiles.val_rows[:-1])


def test_as_many_slides_as_labels_are_needed(tiles):
    with pytest.raises(ConfigError, match="got 240 and 239"):
        replace(tiles, slide_ids=tiles.slide_ids[1:])


def _make_bags(labels=(0, 1, 0, 1), train=(0, 1), val=(2, 3), **fields):
    rng = np.random.default_rng(0)
    bags = [
        Bag(
            bag_id=f"S{i}",
            features=rng.normal(size=(3 + i, 2)),
            label=label,
            **{name: values[i] for name, values in fields.items()},
        )
        for i, label in enumerate(labels)
    ]
    return TrainingBags(
        bags, np.array(train, int), np.array(val, int), ("normal", "tumour")
    )


def test_bags_give_labels_sizes_and_groups():
    bags = _make_bags(patient_id=["A", None, "B", "B"])
    np.testing.assert_array_equal(bags.labels, [0, 1, 0, 1])
    np.testing.assert_array_equal(bags.sizes, [3, 4, 5, 6])
    assert bags.groups.tolist() == ["A", "bag S1", "B", "B"]
    assert (bags.n_classes, bags.n_features) == (2, 2)


def test_a_split_may_lack_validation_and_bags_may_be_in_neither():
    bags = _make_bags(labels=(0, 1, None), val=())
    assert bags.labels.tolist() == [0, 1, -1]
    assert bags.find_missing(bags.val_rows) == ["normal", "tumour"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": ()}, "no labelled bag is in train"),
        ({"train": (0, 1, 4)}, r"rows of train must be in 0..3, got 0..4"),
        ({"labels": (0, None, 0, 1)}, "S1 in train needs a label .* got none"),
        ({"labels": (0, 1, 2, 1)}, r"S2 in val needs a label in 0..1 .* got 2"),
        ({"labels": (0, 0, 1, 1)}, "train must hold bags .* none of 'tumour'"),
        ({"val": (1, 2)}, r"1 bag\(s\) are in train and in val \(S1\)"),
        (
            {"patient_id": ["A", "B", "B", "A"]},
            r"2 patient\(s\) are in train and in val \(A, B\); split by patient",
        ),
        (
            {"slide_ids": [("x", "y"), (), ("y", "z"), ()]},
            r"1 slide\(s\) are in train and in val \(y\); split by slide",
        ),
    ],
)
def test_splits_that_do_not_hold_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        _make_bags(**arguments)


def test_bags_that_do_not_fit_each_other_are_refused():
    bags = [
        Bag(bag_id=str(dim), features=np.zeros((2, dim)), label=dim - 2)
        for dim in (2, 3)
    ]
    with pytest.raises(ManifestError, match="as many features"):
        TrainingBags(bags, np.array([0]), np.array([1]), ("a", "b"))
