from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.core import Progress
from eosin.evaluation import Clustering, describe_clusters, find_label_errors
from eosin.workflows.held_out_tiles import EVERY_FOLD, open_held_out_tiles
from eosin.workflows.interpretation import ClassMap, FeatureSpace, Interpretation
from eosin.workflows.interpretation_page import build_page, list_space_tiles


@pytest.fixture
def held_out(run_folder, evaluation_folder):
    return open_held_out_tiles(run_folder)


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
        method="gradcam",
        shown=2,
        mark_px=0,
        maps=(),
        space=space,
        errors=find_label_errors(
            held_out.labels[labelled], held_out.probabilities[labelled]
        ),
        labelled=labelled,
        n_unreadable=0,
        cautions=("Beware.",),
    )
    return replace(found, **changes)


def build(found, method="tsne"):
    return build_page(
        found, map_method=method, versions={}, out="o ut", progress=Progress()
    )


def test_the_headline_counts_errors_and_says_what_clusters_follow(held_out):
    found = make(held_out)
    page = build(found)
    labels = held_out.labels[found.labelled]
    wrong = held_out.called[found.labelled] != labels
    name = held_out.class_names[1]
    n_wrong, n = int(wrong[labels == 1].sum()), int((labels == 1).sum())
    assert f"{n_wrong} of {n} {name}." in page.headline[0]
    assert "Clusters follow scanners more than classes (0.60 against 0.20)." in (
        page.headline
    )
    assert ("Clusters", "2", "silhouette 0.31") in page.key_numbers
    assert dict(page.space.agreement) == {"Classes": 0.2, "Scanners": 0.6}
    assert list(page.space.factors) == ["label", "prediction", "verdict", "slide"]
    assert page.cautions == ("Beware.",)


def test_suspects_lead_to_cleaning_with_a_warning(held_out):
    # The surest tile of all, and called rightly so far.
    row = int(held_out.probabilities[:, 1].argmax())
    labels = held_out.labels
    labels[row] = 0
    page = build(make(held_out))
    n = len(page.suspects)
    assert n >= 1
    commands = dict(page.next_steps)
    (cleaning,) = [c for c in commands if "clean" in c]
    assert cleaning.endswith("--drop 'o ut'/label_errors.csv")
    assert "first take out of it those whose label is right" in commands[cleaning]
    assert "suspected to be wrong" in page.headline[-1]
    assert page.suspect_counts.to_numpy().sum() <= len(labels)
    assert f"{n:,} of" in page.suspect_text


def test_without_space_and_errors_less_is_said(held_out):
    bare = replace(held_out, probabilities=None)
    found = make(held_out, space=None, errors=None)
    page = build(replace(found, held_out=bare))
    assert page.space is None
    assert page.key_numbers == []
    assert "without predictions" in page.headline[0]
    assert page.suspect_counts.empty
    assert any("eosin evaluate" in command for command, _ in page.next_steps)


def test_an_even_space_and_another_method_are_described(held_out):
    found = make(held_out, method="gradcam++", errors=None)
    space = replace(found.space, agreement={"class": 0.5, "slide": 0.1}, is_sample=True)
    page = build(replace(found, space=space), method="umap")
    assert any("follow slides less than classes" in said for said in page.headline)
    assert "UMAP" in page.space.source
    assert "drawn at random" in page.method["Sample"]
    assert page.method["Maps"].startswith("Grad-CAM++")
    assert not any("gradcam++" in command for command, _ in page.next_steps)
    one = replace(space, clusters=space.clusters.head(1), agreement={"class": None})
    assert len(build(replace(found, space=one)).headline) == 1


def test_tiles_of_another_cohort_are_called_so(held_out):
    folds = np.full(len(held_out.rows), EVERY_FOLD)
    page = build(make(replace(held_out, folds=folds)))
    assert "tiles of another cohort" in page.headline[0]
    assert "the mean over all models" in page.method["Maps"]


def test_the_centre_and_coarse_maps_are_told(held_out):
    side = held_out.folder.info.tile_px
    pixels = np.zeros((side, side, 3), np.uint8)
    flat = np.ones((side, side), np.float32)
    maps = (
        ClassMap("right", 0, 0, 0, pixels, flat, "layer", 3),
        ClassMap("wrong", 1, 0, 1, pixels, None, "", 0),
    )
    said = build(make(held_out, maps=maps, mark_px=side // 2)).map_text
    assert "25\N{NARROW NO-BREAK SPACE}% of the area" in said
    assert "25\N{NARROW NO-BREAK SPACE}% in those called right." in said
    assert "only 3 places a side" in said
    assert "places a side" not in build(make(held_out, maps=maps[1:])).map_text


def test_no_suspect_is_said_too(held_out):
    found = make(held_out)
    none = replace(
        found.errors, rows=np.zeros(0, np.int64), suggested=np.zeros(0, np.int64),
        margins=np.zeros(0),
    )  # fmt: skip
    page = build(replace(found, errors=none))
    assert page.headline[-1] == "No label is suspected to be wrong."
    assert not any("clean" in command for command, _ in page.next_steps)
    one = replace(
        found.errors, rows=np.zeros(1, np.int64), suggested=np.ones(1, np.int64),
        margins=np.zeros(1),
    )  # fmt: skip
    assert build(replace(found, errors=one)).headline[-1].startswith("1 label is")


def test_tiles_are_listed_with_cluster_and_place(held_out):
    found = make(held_out)
    table = list_space_tiles(found, found.space)
    assert table["cluster"].tolist() == (found.space.clustering.numbers + 1).tolist()
    assert table["tile_id"].tolist() == held_out.tiles["tile_id"].tolist()
    np.testing.assert_allclose(table["map_x"], found.space.places[:, 0], atol=1e-4)
