import numpy as np
import pandas as pd
import pytest

from eosin.core import Box
from eosin.slides import open_slide, write_pyramid
from eosin.workflows.mil_heatmaps import SlideAttention, rank_attention
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import EnsemblePrediction, open_mil_run
from eosin.workflows.mil_slides import SlidePlace
from eosin.workflows.mil_writing import MILWriter, measure_attention

TIMES = np.array([0.2, 0.4, 2.4])
CALLED = {"label": "tumor", "probability_normal": 0.2, "probability_tumor": 0.8}


@pytest.fixture
def attention():
    tiles = pd.DataFrame({"x_px0": [0, 64, 128], "y_px0": 0, "size_px0": 64})
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    return SlideAttention(tiles, TIMES, rank_attention(TIMES), scores)


@pytest.fixture
def writer(mil_study, tmp_path):
    run = open_mil_run(mil_study / "run")
    return MILWriter(run, MILPredictConfig(gallery_tiles=2), tmp_path / "out")


def test_a_call_says_how_far_folds_are_apart(writer, mil_study):
    folds = np.array([[0.1, 0.9], [0.5, 0.5]])
    found = EnsemblePrediction(folds.mean(axis=0), folds, TIMES / 3, None)
    called = writer.call(found)
    threshold = open_mil_run(mil_study / "run").threshold
    assert called["label"] == ("tumor" if threshold <= 0.7 else "normal")
    assert called["probability_tumor"] == pytest.approx(0.7)
    assert (called["lowest_fold"], called["highest_fold"]) == (0.5, 0.9)


def test_a_slide_gets_its_files_and_loses_them(writer, attention, tmp_path):
    image = np.full((64, 256, 3), 200, np.uint8)
    write_pyramid(tmp_path / "s.tif", image, mpp=1.0)
    with open_slide(tmp_path / "s.tif") as slide:
        place = SlidePlace(slide.dimensions, slide.mpp, slide.bounds)
        facts = writer.write("s", slide, place, attention, CALLED)
    assert facts["gallery"] == ["2.4", "0.4"]
    assert facts["attended_regions"] == 1
    # One tile of 64 um.
    assert facts["attended_mm2"] == pytest.approx(0.0041)
    assert facts["instances_mm2"] == pytest.approx(0.0041, abs=1e-4)
    assert facts["note"] == ""
    assert len(list((tmp_path / "out").iterdir())) == 9
    writer.remove("s")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_missing_is_said(writer, attention, tmp_path):
    place = SlidePlace((256, 64), None, Box(0, 0, 256, 64))
    facts = writer.write("s", None, place, attention, CALLED)
    assert facts["note"].startswith("no pictures: the slide is not at hand")
    assert facts["note"].endswith("the resolution is not known")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["s.geojson"]


def test_attention_is_measured_by_the_tiles_that_hold_half_of_it():
    assert measure_attention(TIMES) == {"highest_attention": 2.4, "tiles_with_half": 1}
    # Of four alike two hold half.
    assert measure_attention(np.ones(4))["tiles_with_half"] == 2


def test_a_slide_beside_another_one_may_have_no_attention():
    found = measure_attention(np.zeros(3))
    assert found == {"highest_attention": 0.0, "tiles_with_half": 0}
