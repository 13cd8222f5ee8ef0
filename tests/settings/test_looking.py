import pytest

from eosin.core import ConfigError
from eosin.settings import CleanSettings, FetchSettings, ImportSettings


def test_what_counts_as_a_copy_is_asked_of_a_rule_for_copies():
    assert CleanSettings(near=True).near
    with pytest.raises(ConfigError, match=r"near .* got blank, black"):
        CleanSettings(near=True, rules=("blank", "black"))


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("slide_map", "folder"),
        ("group_regex", "kaggle"),
        ("class_regex", "pcam"),
        ("negative", "kaggle"),
    ],
)
def test_a_setting_of_another_layout_is_refused(name, layout):
    with pytest.raises(
        ConfigError, match=f"{name} is for .* not for 'import {layout}'"
    ):
        ImportSettings(layout=layout, **{name: "x"})


def test_an_address_says_where_the_file_s_name_goes():
    assert FetchSettings(address="https://host/{name}").address
    with pytest.raises(ConfigError, match=r"hold \{name\}.*, got https://host"):
        FetchSettings(address="https://host")
