import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.evaluation import (
    SlideAggregation,
    aggregate_predictions,
    build_predictions,
    labels_of,
    select_level,
)
from eosin.evaluation.aggregation import choose_aggregation


def two_columns(scores):
    scores = np.asarray(scores, dtype=float)
    return np.stack([1 - scores, scores], axis=1)


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, 0.45), (0.5, 0.7), (0.2, 0.85), (0.01, 0.9)]
)
def test_a_slide_scores_the_mean_of_its_highest_tiles(share, expected):
    tiles = two_columns(np.arange(10) / 10)
    scores = SlideAggregation(share).score_slide(tiles)
    assert scores == pytest.approx([1 - expected, expected])


def test_a_small_tumour_wins_over_much_normal_tissue_with_several_classes():
    tiles = np.tile([0.98, 0.01, 0.01], (20, 1))
    tiles[:4] = [0.03, 0.95, 0.02]
    scores = SlideAggregation(0.1).score_slide(tiles)
    assert scores.argmax() == 1
    assert scores.sum() == pytest.approx(1)


@given(st.integers(1, 30), st.integers(2, 4), st.sampled_from([0.01, 0.3, 1.0]))
def test_scores_are_probabilities_whatever_the_order_of_tiles(n, n_classes, share):
    rng = np.random.default_rng(n)
    tiles = rng.dirichlet(np.ones(n_classes), n)
    scores = SlideAggregation(share).score_slide(tiles)
    assert scores.sum() == pytest.approx(1)
    assert (scores >= 0).all()
    shuffled = SlideAggregation(share).score_slide(rng.permutation(tiles))
    assert shuffled == pytest.approx(scores)


def test_a_patient_takes_the_worst_slide():
    slides = two_columns([0.2, 0.8])
    assert SlideAggregation().score_patient(slides) == pytest.approx([0.2, 0.8])


def test_contradicting_certainties_give_equal_probabilities():
    slides = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert SlideAggregation().score_patient(slides) == pytest.approx([1 / 3] * 3)


def test_slides_and_patients_are_added_to_the_tiles(make_tiles, target):
    tiles = make_tiles(
        ("A", "P1", "test", 0, [0.1, 0.3]),
        ("B", "P1", "test", 1, [0.2, 0.8]),
        ("C", "P2", "test", None, [0.4, 0.4]),
    )
    table = aggregate_predictions(tiles, SlideAggregation(0.5), target=target)
    slides, patients = select_level(table, "slide"), select_level(table, "patient")
    assert len(select_level(table, "tile")) == 6
    assert slides["id"].tolist() == ["A", "B", "C"]
    assert labels_of(slides).tolist() == [0, 1, -1]
    assert target.take(slides)[:, 1] == pytest.approx([0.3, 0.8, 0.4])
    assert patients["id"].tolist() == ["P1", "P2"]
    assert labels_of(patients).tolist() == [1, -1]
    assert patients["slide_id"].isna().all()
    assert target.take(patients)[:, 1] == pytest.approx([0.8, 0.4])


def test_aggregating_again_changes_nothing(cohort, target):
    once = aggregate_predictions(cohort, SlideAggregation(), target=target)
    twice = aggregate_predictions(once, SlideAggregation(), target=target)
    assert once.equals(twice)


def test_slide_labels_may_be_given(make_tiles, target):
    tiles = make_tiles(("A", "P1", "test", None, [0.9]), ("B", "P2", "test", 0, [0.1]))
    table = aggregate_predictions(
        tiles, SlideAggregation(), target=target, slide_labels={"A": 1}
    )
    assert labels_of(select_level(table, "slide")).tolist() == [1, -1]
    assert labels_of(select_level(table, "patient")).tolist() == [1, -1]


def test_slides_that_a_model_scored_stay_and_patients_are_added(make_tiles, target):
    tiles = make_tiles(
        ("A", "P1", "test", 0, [0.3]),
        ("B", "P1", "test", 1, [0.8]),
        ("C", "P2", "test", None, [0.4]),
    )
    slides = build_predictions(tiles, target.take(tiles), target, unit="slide")
    slides = slides.assign(id=["A", "B", "C"], slide_id=["A", "B", "C"])
    table = aggregate_predictions(slides, target=target)
    assert table["level"].tolist() == ["slide"] * 3 + ["patient"] * 2
    assert select_level(table, "slide").equals(slides)
    patients = select_level(table, "patient")
    assert target.take(patients)[:, 1] == pytest.approx([0.8, 0.4])


@pytest.mark.parametrize("unit", ["patient", "bag"])
def test_patients_and_drawn_bags_have_nothing_above_them(make_tiles, target, unit):
    rows = make_tiles(("A", "P1", "test", 0, [0.3, 0.4]))
    rows = rows if unit == "bag" else rows.iloc[:1]
    table = build_predictions(rows, target.take(rows), target, unit=unit)
    assert aggregate_predictions(table, target=target).equals(table)


def test_the_share_that_ranks_validation_slides_best_is_chosen(make_tiles, target):
    # A tumour slide holds one hot tile in ten: only a small share sees it.
    tumour = [0.9] + [0.1] * 9
    normal = [0.3] * 10
    tiles = make_tiles(
        ("A", "P1", "val", 1, tumour),
        ("B", "P2", "val", 0, normal),
        ("C", "P3", "test", 1, normal),
        ("D", "P4", "test", 0, tumour),
    )
    choice = choose_aggregation(tiles, target=target)
    # Means of the highest n of 10: n=3 gives 0.37 against 0.3, n=5 gives 0.26; of
    # the shares up to 0.3, which all rank right, 0.1 is the one to keep.
    assert choice.aggregation.share == 0.1
    assert choice.auc_by_share[0.5] == 0
    assert choice.auc_by_share[0.3] == 1
    assert choice.auc_by_share[1.0] == 0
    assert (choice.n_slides, choice.caution) == (2, None)


def test_test_rows_do_not_touch_the_choice(cohort, target):
    changed = cohort.copy()
    is_test = changed["split"] == "test"
    flipped = changed.loc[is_test, "probability_normal"].to_numpy()
    changed.loc[is_test, "probability_normal"] = 1 - flipped
    changed.loc[is_test, "probability_tumour"] = flipped
    assert choose_aggregation(cohort, target=target) == choose_aggregation(
        changed, target=target
    )


@pytest.mark.parametrize("split", ["val", "test"])
def test_without_both_classes_on_validation_the_share_is_set(make_tiles, target, split):
    tiles = make_tiles(("A", "P1", split, 1, [0.9, 0.8]))
    choice = choose_aggregation(tiles, target=target)
    assert choice.aggregation.share == 0.1
    assert choice.auc_by_share == {}
    assert "set to 10%, not chosen" in choice.caution


def test_settings_out_of_range_are_refused():
    for bad in ({"share": 0}, {"share": 1.1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            SlideAggregation(**bad)
    with pytest.raises(ValueError, match="at least one tile"):
        SlideAggregation().score_slide(np.zeros((0, 2)))


def test_aggregations_describe_themselves_in_the_studys_words():
    words = SlideAggregation(1.0).describe()
    assert words == "mean of the probabilities of every tile of the slide"
    words = SlideAggregation(0.1).describe(tile="patch", slide="group")
    assert words == "mean of the highest 10% of the group's patch probabilities"
