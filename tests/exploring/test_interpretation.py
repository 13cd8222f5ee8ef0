import numpy as np
import pytest

from eosin.exploring.held_out_tiles import open_held_out_tiles
from eosin.exploring.interpretation import ClassMap, Interpretation
from eosin.exploring.label_errors import find_label_errors
from eosin.settings import InterpretSettings

FLAT = np.ones((8, 8), np.float32)
SHARE = np.zeros((8, 8), np.float32)
SHARE[3, 4], SHARE[0, 0] = 0.75, 0.25


@pytest.mark.parametrize(
    ("strength", "mark_px", "share"),
    [
        (SHARE, 4, 0.75),
        (FLAT, 4, 0.25),
        (None, 4, None),
        (FLAT, 0, None),
        (0 * FLAT, 4, None),
    ],
)
def test_the_centres_share_is_that_of_the_sum(strength, mark_px, share):
    pixels = np.zeros((8, 8, 3), np.uint8)
    found = ClassMap("right", 0, 0, 0, pixels, strength, "layer", 4)
    assert found.find_centre_share(mark_px) == share


@pytest.mark.parametrize("has_predictions", [True, False])
def test_suspects_are_listed_with_their_places(
    run_folder, evaluation_folder, has_predictions
):
    held_out = open_held_out_tiles(run_folder)
    labelled = np.flatnonzero(held_out.labels >= 0)
    surest = labelled[np.argmax(held_out.probabilities[labelled, 1])]
    held_out.labels[surest] = 0
    probabilities = held_out.probabilities[labelled]
    errors = find_label_errors(held_out.labels[labelled], probabilities)
    table = Interpretation(
        held_out=held_out,
        settings=InterpretSettings(),
        mark_px=0,
        maps=(),
        space=None,
        errors=errors if has_predictions else None,
        labelled=labelled,
        cautions=(),
    ).list_suspects()
    if not has_predictions:
        assert table.empty
        return
    first = table.iloc[0]
    assert first["rank"] == 1
    assert table.index[0] == surest
    assert first["tile_id"] == held_out.tiles["tile_id"][surest]
    assert (first["class_name"], first["suggested"]) == held_out.class_names
    gap = first["probability_suggested"] - first["probability_class"]
    assert first["margin"] == pytest.approx(gap, abs=2e-6)
    assert "source" not in table
