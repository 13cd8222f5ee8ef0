import dataclasses

import pandas as pd
import pytest

from eosin.reports import SplitCount, count_splits


def test_splits_are_counted_in_their_order():
    tiles = pd.DataFrame(
        {
            "split": ["test", "train", "train", "train"],
            "patient_id": ["C", "A", "A", "B"],
            "slide_id": ["c", "a1", "a2", "b"],
            "label": pd.array([1, 0, 1, pd.NA], dtype="Int64"),
        }
    )
    assert count_splits(tiles, ("normal", "tumour")) == (
        SplitCount("train", 2, 3, 3, (1, 1)),
        SplitCount("test", 1, 1, 1, (0, 1)),
    )


def test_report_data_cannot_be_changed(data):
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.title = "another"
