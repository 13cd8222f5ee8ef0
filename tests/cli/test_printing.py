import click
import pandas as pd
import pytest
from rich.text import Text

from eosin.cli.printing import (
    format_metric,
    print_ends,
    print_frame,
    print_remarks,
    print_rows,
    stop_on_failures,
    stop_on_unreadable,
)
from eosin.core import SlideFailure


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"value": 0.91234, "low": 0.8, "high": 0.95}, "0.912 (0.80-0.95)"),
        ({"value": 0.998, "low": 0.9961, "high": 1.0}, "0.998 (0.996-1.000)"),
        # What the report calls no interval is none here.
        ({"value": 1.0, "low": 1.0, "high": 1.0}, "1.000"),
        ({"value": 0.5, "low": None, "high": None}, "0.500"),
        ({"value": None}, "-"),
    ],
)
def test_metrics_are_shown_with_their_interval(metric, text):
    assert format_metric(metric) == text


def test_remarks_are_said_once_and_wrapped_under_their_beginning(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    long = "/a/path/that/is/longer/than/a/line/of/text"
    print_remarks("Note", [f"look at [this] {long} now", "twice", "twice"])
    assert capsys.readouterr().out == (
        f"Note: look at [this]\n      {long}\n      now\nNote: twice\n"
    )


def test_ends_are_aligned_and_stay_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_ends({"Report": "/a/long/path/report.html", "Next": "eosin view out/ [x]"})
    assert capsys.readouterr().out == (
        "Report /a/long/path/report.html\nNext   eosin view out/ [x]\n"
    )


def test_tables_show_square_brackets_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [["slide [red] 1.svs", Text("ok", "green")], ["eosin[train,jax]", "[/x]"]]
    print_rows(["[bold]name", "found"], rows)
    print_frame(pd.DataFrame({"class": ["tumour [4]"]}), ["class"])
    said = capsys.readouterr().out
    for text in ("[bold]name", *rows[0][:1], *rows[1], "tumour [4]", "ok"):
        assert text in said


def test_tables_show_gaps_as_dashes(capsys):
    frame = pd.DataFrame({"a": [0.123456, float("nan")], "b": ["x", None]})
    print_frame(frame, ["a", "b"])
    text = capsys.readouterr().out
    assert "0.123 " in text
    assert text.count("│ - ") == 2


def test_failures_are_named_and_exit_with_1(capsys):
    stop_on_failures([])
    stop_on_unreadable([], "")
    failure = SlideFailure("S1", "tile", "[damaged] at x=1")
    for stop in (
        stop_on_failures,
        lambda found: stop_on_unreadable(found, "; drop it"),
    ):
        with pytest.raises(click.exceptions.Exit) as ended:
            stop([failure])
        assert ended.value.exit_code == 1
        streams = capsys.readouterr()
        assert "S1" in streams.out + streams.err
        assert "[damaged] at x=1" in streams.out + streams.err
