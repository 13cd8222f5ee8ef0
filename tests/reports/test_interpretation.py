import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.reports import (
    FeatureSpaceData,
    Gallery,
    GalleryTile,
    InterpretationData,
    render_interpretation,
    write_interpretation,
)

NAMES = ["normal", "<b>tumor</b>"]


def make_gallery(name, n_groups, n=2, side_px=144):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    groups = tuple(
        tuple(GalleryTile(f"{name}-{g}", f"tile <{i}>", pixels) for i in range(n))
        for g in range(n_groups)
    )
    return Gallery(name, f"The {name}", f"{n_groups} found.", groups, 0, side_px)


def make_data(**changes):
    rng = np.random.default_rng(0)
    numbers = np.repeat([1, 2], 10)
    clusters = pd.DataFrame(
        {
            "cluster": [1, 2],
            "tiles": [1200, 10],
            "slides": [3, 1],
            "patients": [2, 1],
            "main_class": ["normal", None],
            "purity": [0.75, np.nan],
            "labelled": [4, 0],
            "called": [4, 0],
            "errors": [1, 0],
            "error_rate": [0.25, np.nan],
            "largest_slide": [0.5, 1.0],
        }
    )
    space = FeatureSpaceData(
        source="20 tiles of <an> encoder.",
        places=rng.normal(size=(20, 2)),
        tiles=pd.DataFrame({"tile_id": range(20)}),
        factors=pd.DataFrame({"label": pd.Categorical(["normal"] * 20, NAMES)}),
        numbers=numbers,
        silhouettes={2: 0.4, 3: 0.2},
        clusters=clusters,
        agreement=[("Classes", 0.5), ("Slides", -0.01)],
        montages=[make_gallery("cluster-1", 1, 3, side_px=84)],
    )
    suspects = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(25)],
            "slide_id": "S",
            "class_name": "normal",
            "suggested": NAMES[1],
            "probability_class": 0.1,
            "probability_suggested": 0.9,
        }
    )
    data = InterpretationData(
        title="A <i>run</i>",
        facts="96 px",
        headline=["All of it.", "A second sentence."],
        key_numbers=[("Called wrong", "3", "of 40")],
        cautions=["Beware."],
        map_text="Yellow.",
        maps=[(NAMES[1], [make_gallery("right-x", 2), make_gallery("wrong-x", 0)])],
        space=space,
        suspect_text="Some.",
        suspect_counts=pd.DataFrame([[5, 1], [0, 7]], NAMES, NAMES),
        suspects=suspects,
        suspect_gallery=make_gallery("suspects", 1),
        next_steps=[("eosin clean", "drops")],
        method={"Maps": "Grad-CAM"},
        versions={"eosin": "1"},
    )
    return replace(data, **changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_interpretation(folder, make_data())
    return folder


def test_the_page_is_complete_in_itself(written):
    page = (written / "report.html").read_text()
    assert "All of it." in page
    assert "Before you read anything into this" in page
    assert "A &lt;i&gt;run&lt;/i&gt;" in page
    assert "<i>run" not in page
    assert "<b>tumor" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "width:144px;height:144px" in page
    assert "width:84px;height:84px" in page
    assert "The first 20 of 25; all are in label_errors.csv." in page
    assert "1,200" in page
    assert "1 of 4" in page
    # A frame for each tile with its maps; none round a plain montage.
    assert page.count('class="group"') == 2


def test_figures_and_galleries_lie_beside_it_with_their_numbers(written):
    names = {path.name for path in (written / "figures").iterdir()}
    for name in ("feature-map", "silhouettes", "right-x", "cluster-1", "suspects"):
        assert {f"{name}.png", f"{name}.csv"} <= names
    assert "wrong-x.png" not in names
    with Image.open(written / "figures" / "right-x.png") as sheet:
        # Two groups of two tiles of 144 px, 6 px apart.
        assert sheet.size == (6 + 4 * 150, 6 + 150)
    silhouettes = pd.read_csv(written / "figures" / "silhouettes.csv")
    assert silhouettes["silhouette"].tolist() == [0.4, 0.2]


def test_what_is_not_there_is_said():
    page = render_interpretation(
        make_data(
            space=None,
            suspects=pd.DataFrame(columns=["tile_id"]),
            suspect_counts=pd.DataFrame(),
            suspect_gallery=None,
            maps=[],
            cautions=[],
            versions={},
        )
    )
    assert "There are too few held-out tiles for clusters." in page
    assert "Before you read" not in page
    assert "Versions" not in page


def test_a_space_without_places_or_choice_has_no_figures():
    space = make_data().space
    space = replace(
        space, places=np.full((20, 2), np.nan), silhouettes={2: 0.4}, agreement=[]
    )
    few = make_data().suspects.head(3)
    page = render_interpretation(make_data(space=space, suspects=few))
    assert "<svg" not in page
    assert "What the clusters follow" not in page
    assert "All 3; also in label_errors.csv." in page
