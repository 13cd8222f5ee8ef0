from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.core import Progress, SlideError
from eosin.exploring.clusters import Clustering, describe_clusters
from eosin.exploring.feature_space import FeatureSpace
from eosin.exploring.held_out_tiles import EVERY_FOLD, open_held_out_tiles
from eosin.exploring.interpretation import ClassMap, Interpretation
from eosin.exploring.label_errors import find_label_errors
from eosin.heatmaps import Gallery
from eosin.reports import make_interpretation_page
from eosin.reports.page import Figure, Table
from eosin.settings import InterpretSettings
from eosin.tiles import TileReader


@pytest.fixture
def held_out(run_folder, evaluation_folder):
    return open_held_out_tiles(run_folder)


def make_maps(held_out):
    side = held_out.folder.info.tile_px
    pixels = np.full((side, side, 3), 9, np.uint8)
    flat, empty = (np.full((side, side), v, np.float32) for v in (1, 0))
    return (
        ClassMap("right", 0, 0, 0, pixels, flat, "layer", 3),
        ClassMap("wrong", 1, 0, 1, pixels, flat, "layer", 8),
        ClassMap("wrong", 1, 0, 0, pixels, empty, "layer", 8),
        ClassMap("uncertain", 2, 0, 0, pixels, None, "", 0),
    )


def make(held_out, **changes):
    n = len(held_out.rows)
    numbers = (np.arange(n) >= 0.6 * n).astype(np.int64)
    owners = held_out.tiles[["slide_id", "patient_id"]]
    space = FeatureSpace(
        rows=np.arange(n),
        clustering=Clustering(numbers, np.arange(float(n)), {2: 0.31, 3: 0.2}),
        places=np.random.default_rng(0).normal(size=(n, 2)),
        clusters=describe_clusters(
            numbers, pd.concat([owners, held_out.names], axis=1)
        ),
        agreement={"class": 0.2, "scanner": 0.6, "site": None},
        source="an encoder",
        dimension=7,
        is_sample=False,
    )
    labelled = np.flatnonzero(held_out.labels >= 0)
    found = Interpretation(
        held_out=held_out,
        settings=InterpretSettings(shown=2),
        mark_px=0,
        maps=(),
        space=space,
        errors=find_label_errors(
            held_out.labels[labelled], held_out.probabilities[labelled]
        ),
        labelled=labelled,
        cautions=("Beware.",),
    )
    return replace(found, **changes)


@pytest.fixture
def build(read):
    def make_page(found):
        page = make_interpretation_page(found, out="o ut", progress=Progress())
        # A number and its sign are kept together.
        return page, read(page).words.replace("\N{NARROW NO-BREAK SPACE}", " ")

    return make_page


def find_blocks(page, kind):
    return [block for block in page.list_blocks() if isinstance(block, kind)]


def test_the_headline_counts_errors_and_says_what_clusters_follow(held_out, build):
    found = make(held_out)
    page, words = build(found)
    labels = held_out.labels[found.labelled]
    wrong = held_out.called[found.labelled] != labels
    name = held_out.class_names[1]
    n_wrong, n = int(wrong[labels == 1].sum()), int((labels == 1).sum())
    assert f"{n_wrong} of {n} {name}." in page.headline[0]
    assert ("Clusters", "2", "silhouette 0.31") in page.key_numbers
    for text in (
        "Clusters follow scanners more than classes (0.60 against 0.20).",
        "Classes 0.20",
        "Scanners 0.60",
        *("By label", "By prediction", "By verdict", "By slide", "Beware."),
    ):
        assert text in words
    names = [figure.name for figure in find_blocks(page, Figure)]
    assert names == ["feature-map", "silhouettes"]
    # What it looks at comes before tables.
    assert [s.name for s in page.sections[:2]] == ["maps", "suspects"]


def test_suspects_lead_to_cleaning_with_a_warning(held_out, build):
    # The surest tile of all, and called rightly so far.
    held_out.labels[int(held_out.probabilities[:, 1].argmax())] = 0
    found = make(held_out)
    page, words = build(found)
    n = len(found.list_suspects())
    assert n >= 1
    steps = dict(next(s for s in page.sections if s.name == "next").shown[0].terms)
    (cleaning,) = [command for command in steps if "clean" in command]
    assert cleaning.endswith("--drop 'o ut'/label_errors.csv")
    assert "first take out of it those whose label is right" in steps[cleaning]
    assert "suspected to be wrong" in page.headline[-1]
    assert f"{n:,} of {len(found.labelled):,} labels" in words
    names = held_out.class_names
    gallery = find_blocks(page, Gallery)[0]
    arrow = "\N{RIGHTWARDS ARROW}"
    assert gallery.tiles[0].caption.startswith(f"1. {names[0]} {arrow} {names[1]} 0.")
    (table,) = [t for t in find_blocks(page, Table) if t.style == "ids"]
    assert table.rows[0][2:4] == [names[0], names[1]]


@pytest.mark.parametrize(
    ("n", "headline", "words"),
    [
        (0, "No label is", "eosin interpret"),
        (1, "1 label is", "All 1; also in label_e"),
    ],
)
def test_of_no_suspect_and_of_one_is_told_too(held_out, build, n, headline, words):
    found = make(held_out)
    rows = {"rows": np.zeros(n, np.int64), "suggested": np.ones(n, np.int64)}
    errors = replace(found.errors, margins=np.zeros(n), **rows)
    page, text = build(replace(found, errors=errors))
    assert page.headline[-1].startswith(headline)
    assert words in text
    assert ("eosin clean" in text) == (n > 0)


def test_without_space_and_errors_less_is_said(held_out, build):
    bare = replace(held_out, probabilities=None)
    found = make(held_out, space=None, errors=None)
    page, words = build(replace(found, held_out=bare))
    assert page.key_numbers == []
    for text in (
        "without predictions",
        "too few held-out tiles for clusters",
        "no label can be doubted",
        "eosin evaluate",
    ):
        assert text in words


def test_an_even_space_and_another_method_are_described(held_out, build):
    settings = InterpretSettings(shown=2, method="gradcam++", map="umap")
    folds = np.full(len(held_out.rows), EVERY_FOLD)
    found = make(replace(held_out, folds=folds), settings=settings, errors=None)
    space = replace(found.space, agreement={"class": 0.5, "slide": 0.1}, is_sample=True)
    space = replace(space, places=np.full_like(space.places, np.nan))
    page, words = build(replace(found, space=space))
    for text in (
        "tiles of another cohort",
        "the mean over all models",
        "follow slides less than classes",
        "laid out by UMAP",
        "drawn at random",
        "Grad-CAM++ (Selvaraju",
    ):
        assert text in words
    assert "--method" not in words
    assert [figure.name for figure in find_blocks(page, Figure)] == ["silhouettes"]
    one = replace(space, clusters=space.clusters.head(1), agreement={"class": None})
    page, words = build(replace(found, space=one))
    assert len(page.headline) == 1
    assert "What the clusters follow" not in words


def test_a_tile_and_its_maps_share_a_frame(held_out, build):
    side = held_out.folder.info.tile_px
    page, words = build(make(held_out, maps=make_maps(held_out), mark_px=side // 2))
    name, other = held_out.class_names
    right, wrong, uncertain = find_blocks(page, Gallery)[:3]
    kinds = ("right", "wrong", "uncertain")
    assert [one.name for one in (right, wrong, uncertain)] == [
        f"{kind}-{name}" for kind in kinds
    ]
    first, *maps = right.groups[0]
    # The central half of the side is a quarter.
    quarter = "centre 25\N{NARROW NO-BREAK SPACE}%"
    assert [tile.caption for tile in maps] == [f"for {name}, {quarter}"]
    captions = [tile.caption for tile in wrong.groups[0][1:]]
    assert captions == [f"for {other}, {quarter}", f"nothing for {name}"]
    assert len(uncertain.groups[0]) == 1
    assert held_out.tiles["tile_id"][0] in first.caption
    threshold = held_out.card.together.tile_threshold
    limit = (
        f"from {threshold:.3f}" if held_out.called[0] else f"above {1 - threshold:.3f}"
    )
    assert f"({limit}). " in first.caption
    assert right.text.endswith("In brackets is the threshold of the call.")
    assert "25 % of the area; of the maps' sum it holds 25 % in those called" in words
    assert "only 3 places a side" in words


def test_kinds_without_tiles_say_so(held_out, build):
    few = make(held_out, maps=make_maps(held_out)[1:2])
    page, words = build(few)
    assert [g.text for g in find_blocks(page, Gallery)[:3:2]] == ["None.", "None."]
    assert "places a side" not in words
    bare = replace(held_out, probabilities=None)
    page, _ = build(replace(few, held_out=bare, errors=None))
    caption = find_blocks(page, Gallery)[1].groups[0][0].caption
    assert caption.startswith("Not scored")


def test_a_cluster_is_shown_from_its_middle_to_its_edge(held_out, build):
    found = make(held_out)
    page, _ = build(found)
    montages = [g for g in find_blocks(page, Gallery) if g.name.startswith("cluster")]
    assert [m.name for m in montages] == ["cluster-1", "cluster-2"]
    rows = np.flatnonzero(found.space.clustering.numbers == 0)
    shown = [tile.tile_id for tile in montages[0].tiles]
    assert [shown[0], shown[-1]] == held_out.tiles["tile_id"][rows[[0, -1]]].tolist()
    assert len(shown) == min(20, len(rows))
    assert "called wrong" in montages[0].text
    bare = found.space.clusters.assign(main_class=None, error_rate=np.nan, called=0)
    page, words = build(replace(found, space=replace(found.space, clusters=bare)))
    assert "% called wrong" not in words


def test_tiles_that_cannot_be_read_are_left_out(held_out, build, monkeypatch):
    def refuse(self, rows):
        raise SlideError("damaged")

    monkeypatch.setattr(TileReader, "read", refuse)
    page, _ = build(make(held_out))
    assert all(gallery.groups == () for gallery in find_blocks(page, Gallery))


def test_tiles_are_listed_with_cluster_and_place(held_out):
    found = make(held_out)
    table = found.space.list_tiles(found.held_out)
    assert table["cluster"].tolist() == (found.space.clustering.numbers + 1).tolist()
    assert table["tile_id"].tolist() == held_out.tiles["tile_id"].tolist()
    np.testing.assert_allclose(table["map_x"], found.space.places[:, 0], atol=1e-4)
