import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from eosin.cohorts import describe_looks
from eosin.workflows.patch_cautions import find_patch_cautions, say_changes
from eosin.workflows.patch_groups import Grouping
from eosin.workflows.patch_scan import PatchScan

TABLE = pd.DataFrame({"tile_id": ["a", "b", "c"]})
GIVEN = Grouping(TABLE, 0, 0, 0, 0)
CLEAN = {"n_copies_across_splits": 0, "n_conflicting": 0, "conflicting": []}


def caution(grouping=GIVEN, copies=CLEAN, sides=None, mpp=0.5):
    return list(find_patch_cautions(TABLE, grouping, copies, sides or {96: 3}, mpp))


def test_patches_of_known_patients_need_no_caution():
    assert caution() == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"grouping": Grouping(TABLE, 3, 2, 2, 0)}, "cannot be proven.* these patches"),
        ({"grouping": Grouping(TABLE, 2, 2, 0, 0)}, "patient 2 of 3 patches come from"),
        ({"grouping": Grouping(TABLE, 0, 0, 0, 4)}, "4 groups .* more than one of"),
        ({"copies": CLEAN | {"n_copies_across_splits": 5}}, "5 patches .* another"),
        (
            {"copies": CLEAN | {"n_conflicting": 2, "conflicting": ["x", "y"]}},
            "2 patches .* such as x, y",
        ),
        ({"mpp": None}, "Nobody stated the resolution"),
        ({"sides": {96: 2, 128: 1}}, "1 of 3 patches have another size"),
    ],
)
def test_each_doubt_is_one_sentence(options, text):
    found = caution(**options)
    assert len(found) == 1
    assert re.search(text, found[0])


def test_changes_in_reading_are_said():
    scan = PatchScan(
        np.ones(3, bool),
        np.array([96, 96, 128]),
        np.zeros(3, np.uint64),
        describe_looks([]),
        np.zeros((3, 4), np.float32),
        Counter({"grey": 1, "rgba": 2, "16 bit": 1, "not square": 0, "rgb": 1}),
    )
    found = say_changes(scan, {96: 2, 128: 1}, 96, "a split was made")
    assert found[0] == "a split was made"
    assert len(found) == 5
    assert "1 patches are resampled to 96 px" in found[-1]
    assert "1 of 128 px" in found[-1]
    assert say_changes(scan, {96: 3}, 96, None)[0].startswith("1 patches are grey")
