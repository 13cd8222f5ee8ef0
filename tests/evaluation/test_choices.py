import numpy as np
import pandas as pd

from eosin.evaluation import Classes, build_predictions, choose_on_validation


def test_everything_is_chosen_on_validation_alone(cohort, target):
    choices = choose_on_validation(cohort, target=target)
    only = cohort[cohort["split"] == "val"]
    assert choose_on_validation(only, target=target) == choices
    assert 0 < choices.tile.threshold < 1
    assert choices.tile.n == 240
    assert choices.slide.n == 12
    assert choices.thresholds.of("patient") == choices.slide.threshold
    assert choices.thresholds.of("tile") == choices.tile.threshold
    assert choices.cautions == ()


def test_a_validation_of_one_class_is_cautioned_three_times(make_tiles, target):
    tiles = make_tiles(("A", "P1", "val", 1, [0.9, 0.8]))
    choices = choose_on_validation(tiles, target=target)
    assert choices.tile.threshold == choices.slide.threshold == 0.5
    assert len(choices.cautions) == 3
    assert choices.cautions[1].startswith(
        "Tile threshold: validation holds only label 1"
    )


def test_slide_labels_decide_the_slide_threshold(make_tiles, target):
    tiles = make_tiles(
        ("A", "P1", "val", None, [0.9, 0.8]), ("B", "P2", "val", None, [0.2, 0.1])
    )
    choices = choose_on_validation(tiles, target=target, slide_labels={"A": 1, "B": 0})
    assert choices.slide.rule == "youden"
    assert choices.tile.rule == "fixed"


def test_more_classes_have_no_threshold():
    target = Classes(("normal", "clear cell", "papillary"))
    tiles = pd.DataFrame(
        {
            "tile_id": range(6),
            "slide_id": ["A", "A", "B", "B", "C", "C"],
            "patient_id": ["A", "A", "B", "B", "C", "C"],
            "split": "val",
            "label": [0, 0, 1, 1, 2, 2],
        }
    )
    table = build_predictions(tiles, np.eye(3)[tiles["label"]], target, unit="tile")
    choices = choose_on_validation(table, target=target)
    assert choices.tile.threshold is choices.slide.threshold is None
    assert choices.tile.rule == "highest"
    assert choices.aggregation.auc_by_share[1.0] == 1
