import pytest

from eosin.core import find_nearest, suggest


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("tumour", ["normal", "tumor"], "tumor"),
        ("TUMOR", ["normal", "Tumor"], "Tumor"),
        ("krebs", ["normal", "tumor"], None),
        ("tumor", [], None),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(name, known, nearest):
    assert find_nearest(name, known) == nearest


def test_a_suggestion_ends_a_message():
    assert suggest("tumour", ("normal", "tumor")) == "; is 'tumor' meant?"
    assert suggest("krebs", ("normal", "tumor")) == ""
