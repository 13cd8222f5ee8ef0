import dataclasses

import numpy as np
import pandas as pd
import pytest

from eosin.core import Progress
from eosin.evaluation import OutlierLimits, count_copies, find_copies, find_outliers
from eosin.tiles import APPEARANCE
from eosin.workflows.exploration import Exploration
from eosin.workflows.exploration_page import build_page
from eosin.workflows.tile_folder import open_tile_folder


def make(folder, **changes):
    n = len(folder.tiles)
    rng = np.random.default_rng(0)
    measures = pd.DataFrame(
        rng.uniform(0.1, 0.5, (n, len(APPEARANCE))), columns=list(APPEARANCE)
    )
    measures["contrast"] += 50
    measures["clipped_share"] = 0.0
    measures[["sharpness", "detail"]] += 1
    # Of more than twenty tiles of each class this one number tells all.
    labels = folder.tiles["label"].fillna(0).to_numpy(int)
    measures["eosin"] -= labels
    copies = find_copies(folder.tiles, np.r_[1, 1, np.arange(3, n + 1)])
    found = Exploration(
        folder=folder,
        shown=2,
        seed=0,
        mark_px=0,
        is_sample=False,
        measured=np.arange(n),
        measures=measures,
        outliers=find_outliers(measures, OutlierLimits()),
        isolation=None,
        copies=copies,
        copy_counts=tuple(count_copies(copies, ["exact"])),
        n_unreadable=0,
        limits=OutlierLimits(),
    )
    return dataclasses.replace(found, **changes)


def build(explored):
    return build_page(explored, versions={}, progress=Progress())


@pytest.fixture
def slides(tile_folder):
    return open_tile_folder(tile_folder)


@pytest.fixture
def patches(odd_patches):
    return open_tile_folder(odd_patches)


def test_slides_are_told_by_scanner_split_and_slide(slides):
    table, places = slides.tiles, slides.slides
    places["scanner"] = ["A", "B"] * 5
    places["site"] = "one"
    table["split"] = np.where(table["slide_id"] < "slide-05", "train", "test")
    table.loc[0, "split"] = None
    page = build(make(slides))
    assert list(page.factors.columns) == ["class", "scanner", "split", "slide"]
    scanners = places.set_index("slide_id")["scanner"]
    assert page.factors["scanner"].tolist() == table["slide_id"].map(scanners).tolist()
    assert list(page.factors["split"].cat.categories) == ["train", "val", "test"]
    assert page.counts.index.tolist() == ["train", "test", "no split"]
    assert page.splits.set_index("split").loc["no split", "tiles"] == 1
    assert page.splits["tiles"].sum() == len(table)
    assert not page.slides_are_groups
    assert page.headline[0].startswith(f"{len(table):,} tiles of 10 slides and 10")
    assert "Mean eosin density alone" in page.headline[1]
    assert "AUC of 1.00" in page.headline[1]
    assert "of the differences in colour lie between" in page.headline[2]
    assert ", between classes" in page.headline[2]
    assert "1 tiles are identical copies of others" in page.headline[3]


def test_groups_of_look_alikes_are_told_as_such(patches):
    page = build(make(patches))
    assert page.slides_are_groups
    assert list(page.factors.columns) == ["class"]
    assert "groups" in page.splits
    assert "patients" not in page.splits
    # Eight tiles of one class are too few for an area under the curve.
    assert len(page.headline) == 2
    assert page.title == "Exploration of tiles"
    assert page.facts == (
        "normal / tumor \N{MIDDLE DOT} 48 px \N{MIDDLE DOT} mpp unknown"
    )


def test_patches_of_which_no_two_look_alike_are_told_so(patches):
    names = [f"group-{i}" for i in range(15)]
    patches.tiles["slide_id"] = names
    slides = pd.DataFrame({"slide_id": names, "mpp_used": np.nan})
    slides["path"] = patches.slides["path"].iloc[0]
    patches = dataclasses.replace(patches, slides=slides)
    none = find_copies(patches.tiles, np.arange(15))
    counts = tuple(count_copies(none, ["exact"]))
    page = build(make(patches, copies=none, copy_counts=counts))
    assert page.headline == [
        "15 patches of which no two look alike: 8 normal, 7 tumor."
    ]


def test_what_limits_the_findings_is_said(patches):
    patches.tiles["split"] = ["train", "test"] * 7 + [None]
    copies = find_copies(patches.tiles, np.r_[1, 1, np.arange(3, 16)])
    explored = make(
        patches,
        is_sample=True,
        measured=np.arange(12),
        n_unreadable=3,
        copies=copies,
        copy_counts=tuple(count_copies(copies, ["exact"])),
    )
    page = build(explored)
    text = " ".join(page.cautions)
    for said in (
        "3 tiles cannot be read",
        "of 12 tiles, drawn at random from 15 (seed 0)",
        "2 tiles have a copy in another split",
    ):
        assert said in text
    assert set(patches.info.cautions) <= set(page.cautions)
    assert "of those looked at" in page.next_steps[0][1]
    assert page.method["Measured tiles"] == "12 of 15, drawn at random with seed 0"
    assert page.key_numbers[0] == ("Outliers", "0", "of 12 looked at")


def test_commands_can_be_copied(patches):
    steps = build(make(patches)).next_steps
    # The folder's name has a space.
    assert steps[0][0] == f"eosin clean '{patches.path}' -o cleaned/"
    assert "blank (0), unreadable (0) and conflicting (0)" in steps[0][1]
    assert "drops 1 surplus copies" in steps[1][1]
