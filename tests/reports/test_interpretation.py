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

PERCENT = "\N{NARROW NO-BREAK SPACE}%"


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
    described = pd.concat(
        [held_out.tiles[["slide_id", "patient_id"]], held_out.names], axis=1
    )
    space = FeatureSpace(
        rows=np.arange(n),
        clustering=Clustering(numbers, np.arange(float(n)), {2: 0.31, 3: 0.2}),
        places=np.random.default_rng(0).normal(size=(n, 2)),
        clusters=describe_clusters(numbers, described),
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
        return page, read(page).words

    return make_page


def find_blocks(page, kind):
    return [own for own in page.list_blocks() if isinstance(own, kind)]


def test_the_headline_counts_errors_and_says_what_clusters_follow(held_out, build):
    found = make(held_out)
    page, words = build(found)
    labels = held_out.labels[found.labelled]
    wrong = held_out.called[found.labelled] != labels
    name = held_out.class_names[1]
    n_wrong, n = int(wrong[labels == 1].sum()), int((labels == 1).sum())
    assert f"{n_wrong} of {n} {name}." in page.headline[0]
    assert "Clusters follow scanners more than classes (0.60 against 0.20)." in words
    assert ("Clusters", "2", "silhouette 0.31") in page.key_numbers
    assert "Classes 0.20" in words
    assert "Scanners 0.60" in words
    for text in ("By label", "By prediction", "By verdict", "By slide", "Beware."):
        assert text in words
    names = [own.name for own in find_blocks(page, Figure)]
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
    found = make(held_out, settings=settings, errors=None)
    space = replace(found.space, agreement={"class": 0.5, "slide": 0.1}, is_sample=True)
    space = replace(space, places=np.full_like(space.places, np.nan))
    page, words = build(replace(found, space=space))
    for text in (
        "follow slides less than classes",
        "laid out by UMAP",
        "drawn at random",
        "Grad-CAM++ (Selvaraju",
    ):
        assert text in words
    assert "--method" not in words
    assert [own.name for own in find_blocks(page, Figure)] == ["silhouettes"]
    one = replace(space, clusters=space.clusters.head(1), agreement={"class": None})
    page, words = build(replace(found, space=one))
    assert len(page.headline) == 1
    assert "What the clusters follow" not in words


def test_tiles_of_another_cohort_are_called_so(held_out, build):
    folds = np.full(len(held_out.rows), EVERY_FOLD)
    page, words = build(make(replace(held_out, folds=folds)))
    assert "tiles of another cohort" in page.headline[0]
    assert "the mean over all models" in words


def test_no_suspect_is_said_too(held_out, build):
    found = make(held_out)
    none = {"rows": np.zeros(0, np.int64), "suggested": np.zeros(0, np.int64)}
    none = replace(found.errors, margins=np.zeros(0), **none)
    page, words = build(replace(found, errors=none))
    assert page.headline[-1] == "No label is suspected to be wrong."
    assert "eosin clean" not in words
    one = {"rows": np.zeros(1, np.int64), "suggested": np.ones(1, np.int64)}
    one = replace(found.errors, margins=np.zeros(1), **one)
    page, words = build(replace(found, errors=one))
    assert page.headline[-1].startswith("1 label is")
    assert "All 1; also in label_errors.csv." in words


def test_a_tile_and_its_maps_share_a_frame(held_out, build):
    side = held_out.folder.info.tile_px
    found = make(held_out, maps=make_maps(held_out), mark_px=side // 2)
    page, words = build(found)
    names = held_out.class_names
    right, wrong, uncertain = find_blocks(page, Gallery)[:3]
    assert [own.name for own in (right, wrong, uncertain)] == [
        f"{kind}-{names[0]}" for kind in ("right", "wrong", "uncertain")
    ]
    assert [len(group) for group in right.groups] == [2]
    # The central half of the side is a quarter.
    assert right.groups[0][1].caption == f"for {names[0]}, centre 25{PERCENT}"
    assert [tile.caption for tile in wrong.groups[0][1:]] == [
        f"for {names[1]}, centre 25{PERCENT}",
        f"nothing for {names[0]}",
    ]
    assert len(uncertain.groups[0]) == 1
    caption = right.groups[0][0].caption
    assert held_out.tiles["tile_id"][0] in caption
    threshold = held_out.card.together.tile_threshold
    called = held_out.called[0]
    limit = f"from {threshold:.3f}" if called else f"above {1 - threshold:.3f}"
    assert f"({limit}). " in caption
    assert right.text.endswith("In brackets is the threshold of the call.")
    words = words.replace("\N{NARROW NO-BREAK SPACE}", " ")
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
    own = np.flatnonzero(found.space.clustering.numbers == 0)
    names = held_out.tiles["tile_id"]
    assert montages[0].tiles[0].tile_id == names[own[0]]
    assert montages[0].tiles[-1].tile_id == names[own[-1]]
    assert len(montages[0].tiles) == min(20, len(own))
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
