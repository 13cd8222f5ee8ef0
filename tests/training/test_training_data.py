from dataclasses import replace

import numpy as np
import pytest

from eosin.bags import Bag
from eosin.core import ConfigError, ManifestError
from eosin.training import TrainingBags


def relabel(tiles, rows, label):
    labels = tiles.labels.copy()
    labels[rows] = label
    return {"labels": labels}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"val_rows": t.val_rows[:0]}, "no labelled tile is in val"),
        (lambda t: relabel(t, t.train_rows, 0), "has none of 'tumour'"),
        (lambda t: {"val_rows": np.arange(140, 200)}, "10 tiles are in train and in"),
        (lambda t: {"val_rows": np.array([240])}, r"rows of val must be in 0\.\.239"),
        (lambda t: relabel(t, 0, -1), r"tile 0 in train .* 0\.\.1 .* got none"),
        (lambda t: {"slide_ids": t.slide_ids[1:]}, "got 240 and 239"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tiles, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(tiles, **change(tiles))
    # Outside both splits labels may be anything.
    replace(tiles, **relabel(tiles, -1, -1), val_rows=tiles.val_rows[:-1])


def test_a_class_absent_from_val_is_named_not_refused(tiles):
    labels = tiles.labels.copy()
    labels[tiles.val_rows] = 1
    changed = replace(tiles, labels=labels)
    assert changed.find_missing(changed.val_rows) == ["normal"]


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
