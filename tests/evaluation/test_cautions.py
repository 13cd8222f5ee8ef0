import pytest

from eosin.evaluation import (
    aggregate_predictions,
    caution_bags,
    evaluate_predictions,
)
from eosin.evaluation.aggregation import SlideAggregation


def cautions_of(tiles, class_names, **settings):
    table = aggregate_predictions(tiles, SlideAggregation(), class_names=class_names)
    return evaluate_predictions(
        table,
        class_names=class_names,
        threshold=0.5,
        slide_threshold=0.5,
        n_bootstrap=settings.pop("n_bootstrap", 50),
    ).cautions


def make_study(make_tiles, n_patients):
    """Patients with one slide each, half of them tumour, that the model gets wrong."""
    return make_tiles(
        *(
            (f"S{i}", f"P{i}", "test", i % 2, [0.6 if i % 3 else 0.4, 0.3, 0.01 * i])
            for i in range(n_patients)
        )
    )


@pytest.mark.parametrize(
    ("n_patients", "text"),
    [
        (1, "from a single patient"),
        (4, "Only 4 patients were scored. Do not rely on the intervals"),
        (12, "Only 12 patients were scored. The intervals are wide"),
    ],
)
def test_few_patients_are_named(make_tiles, class_names, n_patients, text):
    found = cautions_of(make_study(make_tiles, n_patients), class_names)
    assert any(text in caution for caution in found)


def test_many_patients_need_no_caution(make_tiles, class_names):
    assert cautions_of(make_study(make_tiles, 24), class_names) == ()


def test_tiles_that_are_all_patients_of_their_own_are_named(make_tiles, class_names):
    tiles = make_tiles(
        *((f"S{i}", f"P{i}", "test", i % 2, [0.5 + 0.01 * i]) for i in range(30))
    )
    found = cautions_of(tiles, class_names)
    assert any("no patient is known" in caution for caution in found)


def test_a_rare_class_is_counted(make_tiles, class_names):
    found = cautions_of(make_study(make_tiles, 6), class_names)
    assert any("only 3 normal and 3 tumour slides" in caution for caution in found)


def test_a_perfect_score_is_not_certain(make_tiles, class_names):
    tiles = make_tiles(
        *((f"S{i}", f"P{i}", "test", i % 2, [0.1 + 0.8 * (i % 2)]) for i in range(20))
    )
    found = cautions_of(tiles, class_names)
    assert any("AUC and sensitivity and specificity of slides; AUC" in c for c in found)


def test_drawn_bags_are_called_bags_and_no_patients_are_counted(
    make_tiles, class_names
):
    tiles = make_study(make_tiles, 6)
    table = aggregate_predictions(tiles, SlideAggregation(), class_names=class_names)
    result = evaluate_predictions(
        table[table["level"] != "tile"],
        class_names=class_names,
        threshold=None,
        slide_threshold=0.5,
        n_bootstrap=50,
    )
    assert any("Only 6 patients" in caution for caution in result.cautions)
    found = caution_bags(result)
    assert found.levels is result.levels
    (text,) = found.cautions
    assert "only 3 normal and 3 tumour bags" in text
    assert "of the bag level" in text
