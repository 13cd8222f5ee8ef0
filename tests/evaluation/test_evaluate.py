import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from eosin.core import ManifestError
from eosin.evaluation import (
    METRICS,
    Classes,
    SlideAggregation,
    Thresholds,
    aggregate_predictions,
    build_predictions,
    evaluate_predictions,
    select_level,
)


@pytest.fixture
def predictions(cohort, target):
    return aggregate_predictions(cohort, SlideAggregation(0.2), target=target)


def evaluate(predictions, **changes):
    settings = {
        "target": Classes(("normal", "tumour")),
        "thresholds": Thresholds(0.5, 0.7),
        "n_bootstrap": 100,
    }
    return evaluate_predictions(predictions, **(settings | changes))


def test_every_level_of_the_test_split_is_scored(predictions):
    result = evaluate(predictions)
    assert list(result.levels) == ["tile", "slide", "patient"]
    tiles = select_level(predictions, "tile", split="test")
    auc = sk.roc_auc_score(
        tiles["label"].to_numpy(dtype=int), tiles["probability_tumour"]
    )
    found = result.levels["tile"].metrics["roc_auc"]
    assert found.value == pytest.approx(auc)
    assert found.low < found.value < found.high
    assert found.n == len(tiles) == 240
    assert result.levels["slide"].n == 12
    assert result.levels["slide"].n_patients == 6
    assert result.levels["slide"].n_by_class == (6, 6)


def test_slides_and_patients_are_called_at_the_slide_threshold(predictions):
    result = evaluate(predictions)
    slides = select_level(predictions, "slide", split="test")
    called = slides["probability_tumour"] >= 0.7
    expected = sk.confusion_matrix(slides["label"].to_numpy(dtype=int), called)
    assert result.levels["slide"].confusion.tolist() == expected.tolist()
    assert result.levels["tile"].threshold == 0.5
    assert result.levels["patient"].threshold == 0.7


def test_metrics_are_json_in_the_stated_form(predictions):
    metrics = evaluate(predictions).metrics
    assert set(metrics) == {"tile", "slide", "patient"}
    for metric in metrics["tile"].values():
        assert set(metric) == {"value", "low", "high", "n", "resamples"}
    assert list(metrics["tile"]) == [metric.name for metric in METRICS]
    json.dumps(metrics, allow_nan=False)


def test_undefined_metrics_are_null_with_a_reason(predictions):
    # The one patient level has tumours only: each patient has a tumour slide.
    auc = evaluate(predictions).metrics["patient"]["roc_auc"]
    assert auc["value"] is auc["low"] is auc["high"] is None
    assert auc["reason"] == "no row has the label normal"
    assert any(
        "At patient level there is no AUC" in c for c in evaluate(predictions).cautions
    )


def test_other_splits_do_not_change_the_result(predictions):
    only_test = predictions[predictions["split"] == "test"]
    assert evaluate(predictions).metrics == evaluate(only_test).metrics


def test_rows_without_a_label_are_counted_and_left_out(predictions):
    is_one = (predictions["level"] == "slide") & (predictions["split"] == "test")
    index = predictions.index[is_one][0]
    predictions.loc[index, "label"] = pd.NA
    result = evaluate(predictions)
    assert result.levels["slide"].n == 11
    assert result.levels["slide"].n_unlabelled == 1
    last = result.calls.iloc[-1]
    assert last["id"] == predictions.loc[index, "slide_id"]
    assert pd.isna(last["is_right"])
    assert pd.isna(last["wrong_margin"])


def test_slides_are_listed_with_the_clearest_mistakes_first(make_tiles, target):
    tiles = make_tiles(
        ("low normal", "P1", "test", 0, [0.1]),
        ("missed", "P2", "test", 1, [0.6]),
        ("high normal", "P3", "test", 0, [0.65]),
        ("false alarm", "P4", "test", 0, [0.95]),
        ("on the threshold", "P5", "test", 1, [0.7]),
        ("no label", "P6", "test", None, [0.99]),
    )
    table = aggregate_predictions(tiles, SlideAggregation(), target=target)
    slides = evaluate(table).calls
    assert slides["id"].tolist() == [
        "false alarm",
        "missed",
        "on the threshold",
        "high normal",
        "low normal",
        "no label",
    ]
    assert slides["is_right"].tolist()[:5] == [False, False, True, True, True]
    assert slides["wrong_margin"].to_numpy()[:2] == pytest.approx([0.25, 0.1])


def test_more_classes_need_no_threshold():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    tiles = pd.DataFrame(
        {
            "tile_id": np.arange(120),
            "slide_id": [f"S{i % 12}" for i in range(120)],
            "patient_id": [f"P{i % 12}" for i in range(120)],
            "split": "test",
            "label": labels,
        }
    )
    probabilities = rng.dirichlet(np.ones(3), 120) + np.eye(3)[labels]
    probabilities /= 2
    target = Classes(("normal", "clear cell", "papillary"))
    tiles = build_predictions(tiles, probabilities, target, unit="tile")
    table = aggregate_predictions(tiles, target=target)
    result = evaluate(table, target=target, thresholds=Thresholds())
    tile = result.levels["tile"]
    assert len(tile.roc_curves) == len(tile.precision_curves) == 3
    assert [curve.class_name for curve in tile.roc_curves] == list(target.class_names)
    assert tile.confusion.shape == (3, 3)
    assert tile.threshold is None
    assert [len(scores) for scores in tile.scores_by_class] == [40, 40, 40]
    slides = result.calls
    assert {"probability_clear cell"} < set(slides.columns)
    assert (slides["is_right"] == (slides["wrong_margin"] < 0)).all()


def test_a_split_without_labels_is_refused(predictions):
    with pytest.raises(
        ManifestError, match=r"split external must .* holds .* of train"
    ):
        evaluate(predictions, split="external")
    with pytest.raises(ManifestError, match="the table holds no row"):
        evaluate(predictions.iloc[:0])


def test_each_patient_may_have_thresholds_of_their_own_fold():
    # Two folds whose scores lie at different heights: 0.3 and 0.7 part them.
    scores = [0.1, 0.2, 0.4, 0.5, 0.6, 0.65, 0.8, 0.9]
    labels = [0, 0, 1, 1, 0, 0, 1, 1]
    table = pd.DataFrame(
        {
            "level": "slide",
            "id": [f"S{i}" for i in range(8)],
            "slide_id": [f"S{i}" for i in range(8)],
            "patient_id": [f"P{i}" for i in range(8)],
            "split": "test",
            "label": pd.array(labels, "Int64"),
            "probability_normal": 1 - np.array(scores),
            "probability_tumour": scores,
        }
    )
    by_group = {f"P{i}": Thresholds(slide=0.3 if i < 4 else 0.7) for i in range(8)}
    options = {"thresholds": Thresholds(slide=0.5), "n_bootstrap": 20}
    one = evaluate(table, **options)
    own = evaluate(table, by_group=by_group, **options)
    # By hand: at 0.5 the calls are 0 0 0 1 1 1 1 1; by fold all are right.
    assert one.metrics["slide"]["specificity"]["value"] == 0.5
    assert one.metrics["slide"]["sensitivity"]["value"] == 0.75
    for name in ("sensitivity", "specificity"):
        assert own.metrics["slide"][name]["value"] == 1.0
        assert own.metrics["slide"][name]["low"] == 1.0
    assert own.calls["is_right"].all()
    assert own.levels["slide"].threshold_range == (0.3, 0.7)
    assert one.levels["slide"].threshold_range is None
    assert own.metrics["slide"]["roc_auc"] == one.metrics["slide"]["roc_auc"]


def test_drawn_bags_are_scored_as_bags_each_by_its_own_fold(make_tiles, target):
    scores = [0.2, 0.4, 0.6, 0.9]
    rows = make_tiles(("A", "P", "test", 0, scores)).assign(label=[0, 1, 0, 1])
    table = build_predictions(rows, target.take(rows), target, unit="bag")
    by_group = {
        name: Thresholds(slide=0.3 if i < 2 else 0.7)
        for i, name in enumerate(table["id"])
    }
    result = evaluate(table, by_group=by_group, thresholds=Thresholds(slide=0.5))
    assert list(result.levels) == ["bag"]
    bags = result.levels["bag"]
    assert (bags.n, bags.n_patients, bags.threshold_range) == (4, 0, (0.3, 0.7))
    assert result.metrics["bag"]["accuracy"]["value"] == 1
    # Each bag is drawn by itself.
    assert (
        result.metrics["bag"]["brier"]["low"] < result.metrics["bag"]["brier"]["high"]
    )
    assert result.listed == "bag"
    assert set(result.calls["id"]) == set(table["id"])
