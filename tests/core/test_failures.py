from dataclasses import asdict

from eosin.core import SlideFailure


def test_a_failure_says_which_slide_where_and_why():
    failure = SlideFailure("S1", "tile", "damaged")
    assert asdict(failure) == {"slide_id": "S1", "step": "tile", "message": "damaged"}
