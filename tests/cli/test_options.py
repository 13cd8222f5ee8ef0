import pandas as pd
import pytest
import typer

from eosin.cli.options import make_progress, make_table, spread_values, stop_on_failures
from eosin.core import SlideFailure


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["tile", "--classes", "a=A", "b=B", "-o", "x"],
            ["tile", "--classes", "a=A", "--classes", "b=B", "-o", "x"],
        ),
        (["--set", "a=1", "--set", "b=2"], ["--set", "a=1", "--set", "b=2"]),
        (["--mpp", "0.5", "c=d"], ["--mpp", "0.5", "c=d"]),
        (["--classes", "a", "slides.csv"], ["--classes", "a", "slides.csv"]),
    ],
)
def test_options_of_several_values_are_spread(given, expected):
    assert spread_values(given) == expected


def test_no_failure_goes_on():
    stop_on_failures([])


def test_failures_are_named_and_exit_with_1(capsys):
    with pytest.raises(typer.Exit) as ended:
        stop_on_failures([SlideFailure("S1", "tile", "[damaged] at x=1")])
    assert ended.value.exit_code == 1
    assert "S1: [damaged] at x=1" in capsys.readouterr().err


def test_tables_show_gaps_as_dashes():
    frame = pd.DataFrame({"a": [0.123456, float("nan")], "b": ["x", None]})
    table = make_table(frame, ["a", "b"])
    assert list(table.columns[0].cells) == ["0.123", "-"]
    assert list(table.columns[1].cells) == ["x", "-"]


def test_progress_goes_to_the_error_stream(capsys):
    make_progress().say("hello")
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "hello\n")
