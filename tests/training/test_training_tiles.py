from dataclasses import replace

import numpy as np
import pytest

from eosin.core import ConfigError


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
    with pytest.raises(ConfigError, match=r"labels in train must be in 0\.\.1"):
        replace(tiles, labels=labels)


def test_labels_outside_both_splits_may_be_anything(tiles):
    labels = tiles.labels.copy()
    labels[-1] = -1
    replace(tiles, labels=labels, val_rows=tiles.val_rows[:-1])


def test_as_many_slides_as_labels_are_needed(tiles):
    with pytest.raises(ConfigError, match="got 240 and 239"):
        replace(tiles, slide_ids=tiles.slide_ids[1:])
