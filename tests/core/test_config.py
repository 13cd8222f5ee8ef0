from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from eosin.core import ConfigError, load_config


@dataclass(frozen=True, kw_only=True)
class Settings:
    size: int = 1
    rate: float = 0.5
    name: str = "x"
    is_on: bool = False
    kind: Literal["a", "b"] = "a"
    mode: Literal["plain", "fancy"] = "plain"
    views: Literal[1, 8] = 1
    limit: int | None = 3
    site: str | None = "x"
    shares: dict[str, int] | None = None
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    place: Path = Path()


def test_later_sources_win(tmp_path):
    assert load_config(Settings) == Settings()
    (tmp_path / "c.toml").write_text('size = 2\nname = "file"\nnames = ["p", "q"]')
    config = load_config(
        Settings,
        path=tmp_path / "c.toml",
        defaults={"size": 5, "limit": 7, "name": "default"},
        given={"name": "option", "rate": None},
        overrides=["size=9"],
    )
    assert (config.size, config.name, config.rate) == (9, "option", 0.5)
    assert (config.names, config.limit) == (("p", "q"), 7)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("rate=3", "rate", 3.0),
        ("is_on=yes", "is_on", True),
        ("is_on=false", "is_on", False),
        ("kind=b", "kind", "b"),
        ("views=8", "views", 8),
        ("limit=none", "limit", None),
        ("limit=7", "limit", 7),
        ("site=none", "site", None),
        ("site=nonesuch", "site", "nonesuch"),
        ("names=a,b", "names", ("a", "b")),
        ("names=a, b", "names", ("a", "b")),
        ("names=", "names", ()),
        ("name=a=b", "name", "a=b"),
        ("pair=3,4.5", "pair", (3, 4.5)),
        ("place=/some/file", "place", Path("/some/file")),
    ],
)
def test_texts_take_the_fields_type(text, field, value):
    assert getattr(load_config(Settings, overrides=[text]), field) == value


@pytest.mark.parametrize(
    "text",
    [
        "name = 5",
        'name = ["a"]',
        "place = 1",
        "names = 3",
        "size = true",
        "shares = { a = 1 }",
        "pair = [1, 2, 3]",
        "size = 1.5",
    ],
)
def test_a_file_gives_values_of_the_right_type(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"{text.split()[0]} must be"):
        load_config(Settings, path=tmp_path / "c.toml")


def test_options_are_taken_as_they_are():
    given = {"place": Path("x"), "names": ("a,b",), "is_on": True}
    config = load_config(Settings, given=given)
    assert (config.place, config.names, config.is_on) == (Path("x"), ("a,b",), True)


@pytest.mark.parametrize("text", ["rate = 1" + "0" * 400, "a = " + "[" * 3000])
def test_what_toml_says_beyond_all_bounds_is_refused(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"rate must be|a.toml: not readable"):
        load_config(Settings, path=tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sizes=3", r"unknown setting: sizes; .*; is 'size' meant\?"),
        (
            "mode=plane",
            "mode must be one of plain, fancy, got 'plane'; is 'plain' meant",
        ),
        ("views=2", "views must be one of 1, 8, got '2'$"),
        ("limit=x", "limit must be a whole number or none, got 'x'"),
        ("colour=red", "unknown setting: colour; Settings knows"),
        ("size", "field=value"),
        ("=3", "field=value"),
        ("size=1.5", "size must be a whole number"),
        ("is_on=maybe", "is_on must be"),
        ("pair=1", "pair must be"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_right(text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(Settings, overrides=[text])


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(Settings, path=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("size = = 2")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load_config(Settings, path=tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe4"')
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load_config(Settings, path=tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load_config(Settings, path=tmp_path)


def test_a_wrong_value_in_a_tuple_of_choices_is_named():
    @dataclass(frozen=True)
    class Chosen:
        rules: tuple[Literal["blank", "black"], ...] = ()

    assert load_config(Chosen, overrides=["rules=black,blank"]).rules == (
        "black",
        "blank",
    )
    with pytest.raises(ConfigError, match="rules"):
        load_config(Chosen, overrides=["rules=black,pink"])
