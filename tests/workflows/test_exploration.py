import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import OUTLIERS, OutlierLimits, find_copies
from eosin.tiles import APPEARANCE
from eosin.workflows.exploration import Exploration, count_classes
from eosin.workflows.tile_folder import open_tile_folder


@pytest.fixture
def explored(odd_patches):
    folder = open_tile_folder(odd_patches)
    folder.tiles.loc[0, "label"] = pd.NA
    n = len(folder.tiles)
    return Exploration(
        folder=folder,
        shown=3,
        seed=0,
        mark_px=None,
        is_sample=False,
        measured=np.arange(n),
        measures=pd.DataFrame(np.zeros((n, len(APPEARANCE))), columns=list(APPEARANCE)),
        outliers=pd.DataFrame(np.zeros((n, 4), bool), columns=list(OUTLIERS)),
        isolation=None,
        copies=find_copies(folder.tiles, np.arange(n)),
        copy_counts=(),
        n_unreadable=0,
        limits=OutlierLimits(),
    )


def test_classes_are_named_in_the_order_of_their_labels(explored):
    assert explored.labels[0] == -1
    assert list(explored.classes.cat.categories) == ["normal", "tumor"]
    assert explored.classes.isna().sum() == 1
    assert explored.noun == "patch"


def test_tiles_are_counted_by_group_and_class(explored):
    groups = pd.Series(["x"] * 10 + ["y"] * 5)
    counts = count_classes(explored, groups)
    assert list(counts.columns) == ["normal", "tumor", "unlabelled"]
    assert counts.sum(axis=1).tolist() == [10, 5]
    assert counts["unlabelled"].tolist() == [1, 0]


def test_slides_are_listed_the_largest_first(explored):
    slides = explored.slides
    assert slides["tiles"].tolist() == sorted(slides["tiles"], reverse=True)
    assert slides["tiles"].sum() == 15
    own = explored.folder.tiles["slide_id"].value_counts()
    assert dict(zip(slides["slide_id"], slides["tiles"], strict=True)) == own.to_dict()
    total = slides[["normal", "tumor", "unlabelled"]].sum(axis=1)
    assert total.tolist() == slides["tiles"].tolist()
