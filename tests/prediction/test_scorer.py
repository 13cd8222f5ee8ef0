from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import BagScores
from eosin.core import Box, SlideError
from eosin.prediction import scorer as module
from eosin.prediction.items import Item
from eosin.prediction.maps import Place, lay_layers
from eosin.prediction.scorer import BagScorer, TilePixels
from eosin.prediction.sources import OpenSource
from eosin.runs.run import Run, read_run
from eosin.settings import PredictionSettings

PLACE = Place((640, 384), 1.0, Box(0, 0, 640, 384))


def make_source(name, n_tiles=40, columns=(), **options):
    x, y = np.meshgrid(np.arange(8) * 64, np.arange(5) * 64)
    tiles = pd.DataFrame({"x_px0": x.ravel(), "y_px0": y.ravel(), "size_px0": 64})
    tiles = tiles.assign(**dict(columns))
    options = {"features": np.zeros((n_tiles, 6), np.float32), "place": PLACE} | options
    return OpenSource(name=name, tiles=tiles[:n_tiles], **options)


@pytest.fixture
def score(mil_study, tmp_path, monkeypatch):
    """Score two slides of a patient by models that say what they are told."""
    run = read_run(mil_study / "run")

    def go(attention, *sources, instances=(None,) * 3, run=run, **settings):
        logits = np.log([[0.9 / 0.1], [0.5 / 0.5], [0.7 / 0.3]])
        seen = []

        def say(_heads, bag):
            seen.append(bag)
            # Damage is met when tiles are read.
            _ = bag.features[:]
            return [
                BagScores(bag.bag_id, own * temperature, attention[: len(bag)], told)
                for own, told in zip(logits, instances, strict=True)
            ]

        temperature = run.card.together.temperature
        monkeypatch.setattr(module, "score_bag", say)
        monkeypatch.setattr(Run, "open_heads", lambda *_: [])
        scorer = BagScorer(run, PredictionSettings(**settings), tmp_path)
        return scorer, scorer.score(Item("P", (), "key"), sources), seen

    return go


def test_a_bag_is_called_and_its_attention_measured_on_each_slide(score, mil_study):
    # Of the 80 tiles of both slides, two have .3 and .25, the rest shares .45.
    attention = np.full(80, 0.45 / 78)
    attention[[7, 45]] = 0.3, 0.25
    settings = {"attended_tiles": 1, "gallery_tiles": 2}
    scorer, found, (bag,) = score(
        attention, make_source("A"), make_source("B"), **settings
    )
    assert len(bag) == 80
    first, second = (scored.facts for scored in found)
    assert first["probability_tumor"] == pytest.approx(0.7)
    assert (first["lowest_fold"], first["highest_fold"]) == pytest.approx((0.5, 0.9))
    threshold = read_run(mil_study / "run").card.together.threshold
    assert first["label"] == ("tumor" if threshold <= 0.7 else "normal")
    assert first["highest_attention"] == pytest.approx(0.3 * 80)
    assert second["highest_attention"] == pytest.approx(0.25 * 80)
    # Within slide A: .3 of .525 is more than half.
    assert first["tiles_with_half"] == 1
    assert found[0].captions == {7: "24", 0: "0.46"}
    laid = lay_layers(found[0], PLACE)
    # A tile is 64 um wide. Without scores of tiles there are no maps of them.
    assert scorer.measure(laid) == {"attended_mm2": 0.0041, "attended_regions": 1}


def test_a_drawn_bag_has_no_map_and_tells_its_witnesses(score):
    attention = np.full(40, 0.5 / 39)
    attention[7] = 0.5
    columns = {"is_witness": np.arange(40) == 7}
    source = make_source("B", columns=columns, place=None)
    _, (found,), _ = score(attention, source, gallery_tiles=2)
    assert found.captions == {7: "20 (witness)", 0: "0.51"}
    assert found.layers == []


def test_scores_of_tiles_are_averaged_where_all_models_give_them(score):
    attention = np.full(40, 1 / 40)
    told = [np.full((40, 1), logit, np.float32) for logit in (0.0, 3.0, -3.0)]
    scorer, (found,), _ = score(attention, make_source("A"), instances=told)
    assert found.attention.instances[:, 1] == pytest.approx(np.full(40, 0.5))
    _, instances = found.layers
    assert instances.name == "instances"
    assert scorer.measure(lay_layers(found, PLACE))["instances_mm2"] == (
        pytest.approx(40 * 0.0041, abs=1e-3)
    )
    # Folds may have chosen different methods.
    _, (found,), _ = score(attention, make_source("A"), instances=[*told[:2], None])
    assert found.attention.instances is None
    # Neither outlines nor areas mean anything without a resolution.
    unknown = make_source("A", place=replace(PLACE, mpp=None))
    assert len(score(attention, unknown, instances=told)[1][0].layers) == 1


def test_a_slide_without_tissue_stands_beside_its_patients_other(score):
    _, found, _ = score(np.full(40, 1 / 40), make_source("A"), make_source("B", 0))
    assert [scored.facts["status"] for scored in found] == ["done", "no tissue"]
    assert score(np.empty(0), make_source("A", 0))[1][0].facts["tiles"] == 0


def test_of_tiles_that_cannot_be_read_the_others_are_scored(score, mil_study):
    bad = {1, 5}

    def read(rows):
        if bad & set(rows.tolist()):
            raise SlideError("cut short")
        return np.zeros((len(rows), 64, 64, 3), np.uint8)

    run = read_run(mil_study / "run")
    run = replace(run, card=replace(run.card, learner="pixels"))
    source = make_source("A", features=None, read=read)
    _, (found,), bags = score(np.full(38, 1 / 38), source, run=run)
    assert [len(bag) for bag in bags] == [40, 38]
    assert (found.facts["tiles"], found.facts["damaged_tiles"]) == (38, 2)
    # The gallery finds their pixels by their rows.
    assert found.tiles.index.tolist() == sorted({*range(40)} - bad)
    # A slide without one tile that can be read fails.
    bad |= set(range(40))
    with pytest.raises(SlideError, match="cut short"):
        score(np.full(38, 1 / 38), source, run=run)


def test_pixels_are_read_by_row():
    tiles = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
    pixels = TilePixels(lambda rows: tiles[rows], np.array([4, 0, 2]), 2)
    assert pixels.shape == (3, 12)
    np.testing.assert_array_equal(pixels[1:], tiles[[0, 2]].reshape(2, 12))
    np.testing.assert_array_equal(pixels[[0]], tiles[[4]].reshape(1, 12))
