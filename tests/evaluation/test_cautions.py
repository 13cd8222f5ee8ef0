import pytest

from eosin.evaluation import (
    Thresholds,
    aggregate_predictions,
    build_predictions,
    evaluate_predictions,
)


def cautions_of(table, target, words=None):
    return evaluate_predictions(
        aggregate_predictions(table, target=target),
        target=target,
        thresholds=Thresholds(0.5, 0.5),
        n_bootstrap=50,
        words=words,
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
def test_few_patients_are_named(make_tiles, target, n_patients, text):
    found = cautions_of(make_study(make_tiles, n_patients), target)
    assert any(text in caution for caution in found)


def test_many_patients_need_no_caution(make_tiles, target):
    assert cautions_of(make_study(make_tiles, 24), target) == ()


def test_tiles_that_are_all_patients_of_their_own_are_named(make_tiles, target):
    tiles = make_tiles(
        *((f"S{i}", f"P{i}", "test", i % 2, [0.5 + 0.01 * i]) for i in range(30))
    )
    found = cautions_of(tiles, target)
    assert any("no patient is known" in caution for caution in found)


def test_a_rare_class_is_counted(make_tiles, target):
    found = cautions_of(make_study(make_tiles, 6), target)
    assert any("only 3 normal and 3 tumour slides" in caution for caution in found)


def test_a_perfect_score_is_not_certain(make_tiles, target):
    tiles = make_tiles(
        *((f"S{i}", f"P{i}", "test", i % 2, [0.1 + 0.8 * (i % 2)]) for i in range(20))
    )
    found = cautions_of(tiles, target)
    words = "AUC and sensitivity and specificity of slides; ROC AUC"
    assert any(words in caution for caution in found)


def test_patches_of_groups_are_called_so(make_tiles, target):
    words = {"tile": "patch", "slide": "group", "patient": "group", "bag": "bag"}
    found = " ".join(cautions_of(make_study(make_tiles, 6), target, words))
    assert "Only 6 groups were scored" in found
    assert "only 3 normal and 3 tumour groups" in found
    assert not any(word in found for word in ("slide", "tile", "patient"))
    tiles = make_tiles(*((f"S{i}", f"P{i}", "test", i % 2, [0.5]) for i in range(9)))
    assert "Every patch counts" in cautions_of(tiles, target, words)[1]


def test_drawn_bags_are_called_bags_and_no_patients_are_counted(make_tiles, target):
    rows = make_tiles(
        ("A", "P", "test", 0, [0.3, 0.1, 0.6]), ("B", "P", "test", 1, [0.9])
    )
    bags = build_predictions(rows, target.take(rows), target, unit="bag")
    found = cautions_of(bags, target)
    assert any("only 3 normal and 1 tumour bags" in text for text in found)
    assert any("of the bag level" in text for text in found)
    # Whom they share patients with is said by their study.
    assert not any("patient" in text for text in found)
