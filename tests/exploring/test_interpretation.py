from dataclasses import replace

import numpy as np
import pytest

from eosin.exploring.held_out_tiles import open_held_out_tiles
from eosin.exploring.interpretation import ClassMap, Interpretation
from eosin.exploring.label_errors import find_label_errors
from eosin.settings import InterpretSettings

PIXELS = np.zeros((8, 8, 3), np.uint8)


def make_map(strength):
    return ClassMap("right", 0, 0, 0, PIXELS, strength, "layer", 4)


def test_the_centres_share_is_that_of_the_sum():
    strength = np.zeros((8, 8), np.float32)
    strength[3, 4] = 0.75
    strength[0, 0] = 0.25
    assert make_map(strength).find_centre_share(4) == pytest.approx(0.75)
    flat = np.ones((8, 8), np.float32)
    assert make_map(flat).find_centre_share(4) == pytest.approx(0.25)


def test_without_a_map_a_centre_or_any_strength_there_is_no_share():
    assert make_map(None).find_centre_share(4) is None
    assert make_map(np.ones((8, 8), np.float32)).find_centre_share(0) is None
    assert make_map(np.zeros((8, 8), np.float32)).find_centre_share(4) is None


@pytest.fixture
def found(run_folder, evaluation_folder):
    held_out = open_held_out_tiles(run_folder)
    labels = held_out.labels.copy()
    labelled = np.flatnonzero(labels >= 0)
    surest = labelled[np.argmax(held_out.probabilities[labelled, 1])]
    held_out.labels[surest] = 0
    errors = find_label_errors(
        held_out.labels[labelled], held_out.probabilities[labelled]
    )
    return Interpretation(
        held_out=held_out,
        settings=InterpretSettings(),
        mark_px=0,
        maps=(),
        space=None,
        errors=errors,
        labelled=labelled,
        n_unreadable=0,
        cautions=(),
    )


def test_suspects_are_listed_with_their_places(found):
    table = found.list_suspects()
    first = table.iloc[0]
    held_out = found.held_out
    row = table.index[0]
    assert first["rank"] == 1
    assert first["tile_id"] == held_out.tiles["tile_id"][row]
    assert first["class_name"] == held_out.class_names[0]
    assert first["suggested"] == held_out.class_names[1]
    assert first["margin"] == pytest.approx(
        first["probability_suggested"] - first["probability_class"], abs=2e-6
    )
    assert row == found.labelled[np.argmax(held_out.probabilities[found.labelled, 1])]
    assert "source" not in table


def test_without_predictions_there_are_no_suspects(found):
    assert replace(found, errors=None).list_suspects().empty
