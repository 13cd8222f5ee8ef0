from dataclasses import dataclass
from typing import Literal

import click
import pytest
from click.testing import CliRunner

from eosin.cli.options import of_settings, spread_values
from eosin.core import ConfigError
from eosin.settings import Settings
from eosin.settings.setting import setting


@dataclass(frozen=True, kw_only=True)
class Paint(Settings):
    """How to paint.

    Attributes:
        colour: Of the `wall`.
        coats: How many.
        is_dry: Whether it dries.
        rooms: Which.
        brush: Which one.
    """

    colour: Literal["red", "blue"] = setting("red")
    coats: int = setting(2, least=1)
    is_dry: bool = setting(False)
    rooms: tuple[str, ...] = setting(())
    brush: str | None = setting(None)


@dataclass(frozen=True, kw_only=True)
class Paper(Settings):
    """How to paper.

    Attributes:
        coats: How many.
        glue: Which one.
    """

    coats: int = setting(1, least=1)
    glue: str = setting("weak")


@click.command()
@of_settings(["colour", "coats", "is_dry", "rooms"], {Paint: "walls", Paper: "paper"})
@click.option("--paper", is_flag=True)
def decorate(given, paper):
    """Example: decorate."""
    click.echo(given.load(Paper if paper else Paint, rooms=None))


def run(*words):
    done = CliRunner().invoke(decorate, [str(word) for word in words])
    if isinstance(done.exception, ConfigError):
        raise done.exception
    return done.output


def test_options_files_and_set_make_the_settings(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('coats = 3\ncolour = "blue"\nbrush = "a"\n')
    words = ["--config", path, "--coats", 4, "--is-dry", "--rooms", "x,y"]
    made = run(*words, "--set", "brush=none")
    expected = Paint(colour="blue", coats=4, is_dry=True, rooms=("x", "y"))
    assert made.strip() == str(expected)
    assert run("--paper", "--coats", 7).strip() == str(Paper(coats=7))


def test_help_says_every_default_of_every_kind():
    text = " ".join(run("--help").split())
    assert "--colour red|blue Of the wall. [red]" in text
    assert "--coats NUMBER How many. [2; paper: 1]" in text
    assert "--is-dry Whether it dries. [false]" in text
    assert "--rooms TEXT Which. [none]" in text
    listed = " ".join(run("--settings").split())
    assert "Settings of walls: colour = red Of the wall." in listed
    assert "brush = none" in listed
    assert "Settings of paper: coats = 1" in listed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "coat=3"], "unknown setting: coat.*'coats'"),
        (["--colour", "bleu"], "colour must be one of red, blue, got 'bleu'.*'blue'"),
        (["--coats", "0"], "coats must be 1 or more, got 0"),
        (["--set", "coats"], "--set takes field=value, got 'coats'"),
        (["--config", "none.toml"], r"none\.toml: no such config file"),
        (["--set", "glue=x"], "glue is a setting of paper; this is about walls"),
        (["--paper", "--colour", "red"], "colour is a setting of walls; .* paper"),
    ],
)
def test_what_is_wrong_is_named(words, message):
    with pytest.raises(ConfigError, match=message):
        run(*words)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["tile", "--classes", "a=A", "b=B", "-o", "x"],
            ["tile", "--classes", "a=A", "--classes", "b=B", "-o", "x"],
        ),
        (
            ["--classes", "normal", "tumor"],
            ["--classes", "normal", "--classes", "tumor"],
        ),
        # How else people write them.
        (
            ["--class", "normal", "--class=tumor", "--by", "patient"],
            ["--classes", "normal", "--classes=tumor", "--unit", "patient"],
        ),
        (["--set", "a=1", "--set", "b=2"], ["--set", "a=1", "--set", "b=2"]),
        (["--mpp", "0.5", "c=d"], ["--mpp", "0.5", "c=d"]),
        # A malformed value is one still, so that the message about it is reached.
        (
            ["--classes", "a=A", "b:B", "s3://b/x.csv"],
            ["--classes", "a=A", "--classes", "b:B", "s3://b/x.csv"],
        ),
    ],
)
def test_options_of_several_values_are_spread(given, expected):
    assert spread_values(given) == expected


def test_a_path_is_no_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slides.csv").touch()
    words = ["--classes", "a", "slides.csv"]
    assert spread_values(words) == words
