import pytest

from eosin.workflows.evaluation_report import _choose_class, _write_mpp

NAMES = ("normal", "adenoma", "carcinoma")


def test_the_slides_called_most_wrongly_have_an_overlay(evaluation_folder):
    assert (evaluation_folder / "overlays" / "00.jpg").stat().st_size > 0
    assert "data:image/jpeg" in (evaluation_folder / "report.html").read_text()


def test_three_classes_have_overlays_too(three_classes):
    overlays = three_classes / "run" / "evaluation" / "overlays"
    assert len(list(overlays.glob("*.jpg"))) == 3


@pytest.mark.parametrize(
    ("label", "shown"),
    [(2, "carcinoma"), (1, "adenoma"), (0, "adenoma"), (None, "adenoma")],
)
def test_a_slide_shows_its_own_class_or_the_positive_one_found_most(label, shown):
    slide = {
        "label": label,
        "probability_normal": 0.7,
        "probability_adenoma": 0.2,
        "probability_carcinoma": 0.1,
    }
    assert NAMES[_choose_class(slide, NAMES)] == shown


def test_the_report_says_how_the_model_came_about(evaluation_folder):
    report = (evaluation_folder / "report.html").read_text()
    assert "smallcnn, weights none" in report
    assert "all layers" in report
    assert "by patient, one split" in report


def test_a_resolution_that_nobody_stated_is_not_made_up():
    assert _write_mpp(0.5) == "0.5 micrometres per pixel"
    assert "nobody stated" in _write_mpp(None)
