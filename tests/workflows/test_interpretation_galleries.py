from dataclasses import replace

import numpy as np
import pytest

from eosin.core import Progress, SlideError
from eosin.evaluation import find_label_errors
from eosin.workflows.feature_space import FeatureSpaceMaker, SpaceOptions
from eosin.workflows.held_out_tiles import open_held_out_tiles
from eosin.workflows.interpretation import ClassMap, Interpretation
from eosin.workflows.interpretation_galleries import (
    InterpretationGalleries,
    format_percent,
)

OPTIONS = SpaceOptions(
    features=None, sample=0, clusters=2, most_clusters=4, method="tsne", seed=0
)


@pytest.fixture
def found(run_folder, evaluation_folder, tmp_path):
    held_out = open_held_out_tiles(run_folder)
    labelled = np.flatnonzero(held_out.labels >= 0)
    surest = labelled[np.argmax(held_out.probabilities[labelled, 1])]
    held_out.labels[surest] = 0
    side = held_out.folder.info.tile_px
    pixels = np.full((side, side, 3), 9, np.uint8)
    flat, empty = (np.full((side, side), v, np.float32) for v in (1, 0))
    maps = (
        ClassMap("right", 0, 0, 0, pixels, flat, "layer", 8),
        ClassMap("wrong", 1, 0, 1, pixels, flat, "layer", 8),
        ClassMap("wrong", 1, 0, 0, pixels, empty, "layer", 8),
        ClassMap("uncertain", 2, 0, 0, pixels, None, "", 0),
    )
    maker = FeatureSpaceMaker(held_out, OPTIONS, tmp_path / "state", [])
    return Interpretation(
        held_out=held_out,
        method="gradcam",
        shown=2,
        mark_px=32,
        maps=maps,
        space=maker.make(Progress()),
        errors=find_label_errors(
            held_out.labels[labelled], held_out.probabilities[labelled]
        ),
        labelled=labelled,
        n_unreadable=0,
        cautions=(),
    )


@pytest.fixture
def reader(found):
    with found.held_out.folder.open_reader(found.held_out.tiles) as opened:
        yield opened


def test_a_tile_and_its_maps_share_a_frame(found, reader):
    ((name, galleries),) = InterpretationGalleries(found, reader).make_maps()
    assert name == found.held_out.class_names[0]
    assert [g.name for g in galleries] == [
        f"{k}-{name}" for k in ("right", "wrong", "uncertain")
    ]
    right, wrong, uncertain = galleries
    assert [len(group) for group in right.groups] == [2]
    # The central 32 of 64 px are a quarter.
    assert (
        right.groups[0][1].caption == f"for {name}, centre 25\N{NARROW NO-BREAK SPACE}%"
    )
    (group,) = wrong.groups
    other = found.held_out.class_names[1]
    assert [tile.caption for tile in group[1:]] == [
        f"for {other}, centre 25\N{NARROW NO-BREAK SPACE}%",
        f"nothing for {name}",
    ]
    assert len(uncertain.groups[0]) == 1
    caption = right.groups[0][0].caption
    assert found.held_out.tiles["tile_id"][0] in caption
    threshold = found.held_out.card.tile_threshold
    called = found.held_out.called[0]
    limit = f"from {threshold:.3f}" if called else f"above {1 - threshold:.3f}"
    assert f"({limit}). " in caption
    assert right.text.endswith("In brackets is the threshold of the call.")


def test_kinds_without_tiles_say_so(found, reader):
    few = replace(found, maps=found.maps[:1])
    ((_, galleries),) = InterpretationGalleries(few, reader).make_maps()
    assert [g.text for g in galleries[1:]] == ["None.", "None."]


def test_a_cluster_is_shown_from_its_middle_to_its_edge(found, reader):
    space = found.space
    montages = list(InterpretationGalleries(found, reader).make_montages(space))
    assert [m.name for m in montages] == ["cluster-1", "cluster-2"]
    own = np.flatnonzero(space.clustering.numbers == 0)
    order = own[np.argsort(space.clustering.distances[own])]
    names = found.held_out.tiles["tile_id"]
    assert montages[0].tiles[0].tile_id == names[space.rows[order[0]]]
    assert montages[0].tiles[-1].tile_id == names[space.rows[order[-1]]]
    assert len(montages[0].tiles) == min(20, len(own))
    assert "called wrong" in montages[0].text
    bare = space.clusters.assign(main_class=None, error_rate=np.nan)
    plain = replace(space, clusters=bare)
    text = next(InterpretationGalleries(found, reader).make_montages(plain)).text
    assert "called wrong" not in text


def test_suspects_are_shown_with_what_is_suggested(found, reader):
    gallery = InterpretationGalleries(found, reader).make_suspects()
    names = found.held_out.class_names
    arrow = "\N{RIGHTWARDS ARROW}"
    assert gallery.tiles[0].caption.startswith(f"1. {names[0]} {arrow} {names[1]} 0.")
    one = replace(found, shown=1, errors=None)
    assert InterpretationGalleries(one, reader).make_suspects() is None


def test_tiles_that_cannot_be_read_are_left_out(found, reader, monkeypatch):
    def refuse(rows):
        raise SlideError("damaged")

    monkeypatch.setattr(reader, "read", refuse)
    galleries = InterpretationGalleries(found, reader)
    assert galleries.make_suspects().groups == ()
    assert all(m.groups == () for m in galleries.make_montages(found.space))


def test_tiles_without_predictions_have_no_call(found, reader):
    bare = replace(found.held_out, probabilities=None)
    maps = InterpretationGalleries(replace(found, held_out=bare), reader).make_maps()
    ((_, galleries),) = maps
    assert galleries[0].groups[0][0].caption.startswith("Not scored")


def test_shares_are_whole_per_cents():
    assert format_percent(0.256) == "26\N{NARROW NO-BREAK SPACE}%"
    assert format_percent(float("nan")) == "\N{EN DASH}"
