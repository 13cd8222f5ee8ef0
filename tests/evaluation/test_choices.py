import json

import numpy as np
import pandas as pd
import pytest

from eosin.evaluation import build_tile_predictions, choose_on_validation


def test_everything_is_chosen_on_validation_alone(cohort, class_names):
    choices = choose_on_validation(cohort, class_names=class_names)
    only = cohort[cohort["split"] == "val"]
    assert choose_on_validation(only, class_names=class_names) == choices
    assert 0 < choices.threshold < 1
    assert choices.tile.n == 240
    assert choices.slide.n == 12
    assert choices.slide_threshold == choices.slide.threshold
    assert choices.cautions == ()


def test_choices_go_into_a_card(cohort, class_names):
    choices = choose_on_validation(
        cohort, class_names=class_names, rule="sensitivity@0.9"
    )
    card = choices.to_json()
    assert json.loads(json.dumps(card)) == card
    assert card["threshold_rule"] == card["slide_threshold_rule"] == "sensitivity@0.9"
    assert card["aggregation"]["method"] == "top_share"


def test_a_validation_of_one_class_is_cautioned_three_times(make_tiles, class_names):
    tiles = make_tiles(("A", "P1", "val", 1, [0.9, 0.8]))
    choices = choose_on_validation(tiles, class_names=class_names)
    assert choices.threshold == choices.slide_threshold == 0.5
    assert len(choices.cautions) == 3
    assert choices.cautions[1].startswith(
        "Tile threshold: validation holds only label 1"
    )


def test_slide_labels_decide_the_slide_threshold(make_tiles, class_names):
    tiles = make_tiles(
        ("A", "P1", "val", None, [0.9, 0.8]), ("B", "P2", "val", None, [0.2, 0.1])
    )
    choices = choose_on_validation(
        tiles, class_names=class_names, slide_labels={"A": 1, "B": 0}
    )
    assert choices.slide.rule == "youden"
    assert choices.tile.rule == "fixed"


def test_more_classes_have_no_threshold():
    names = ("normal", "clear cell", "papillary")
    tiles = pd.DataFrame(
        {
            "tile_id": range(6),
            "slide_id": ["A", "A", "B", "B", "C", "C"],
            "patient_id": ["A", "A", "B", "B", "C", "C"],
            "split": "val",
            "label": [0, 0, 1, 1, 2, 2],
        }
    )
    table = build_tile_predictions(tiles, np.eye(3)[tiles["label"]], names)
    choices = choose_on_validation(table, class_names=names)
    assert choices.tile is choices.slide is None
    assert choices.threshold is choices.slide_threshold is None
    assert choices.aggregation.auc_by_share[1.0] == 1
    assert choices.to_json()["threshold_rule"] is None


def test_an_unknown_rule_is_refused(cohort, class_names):
    with pytest.raises(ValueError, match="threshold rule"):
        choose_on_validation(cohort, class_names=class_names, rule="best")
