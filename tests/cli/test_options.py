import pandas as pd
import pytest
import typer

from eosin.cli.options import (
    format_metric,
    load_training,
    make_progress,
    make_table,
    print_ends,
    print_remarks,
    spread_values,
    stop_on_failures,
)
from eosin.core import SlideFailure
from eosin.workflows.find_lr import FindLRConfig
from eosin.workflows.train_tiles import TrainConfig


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
        # A malformed value is one still, so that the message about it is reached.
        (
            ["--classes", "a=A", "b:B", "s3://b/x.csv"],
            ["--classes", "a=A", "--classes", "b:B", "s3://b/x.csv"],
        ),
    ],
)
def test_options_of_several_values_are_spread(given, expected):
    assert spread_values(given) == expected


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


def test_settings_of_a_training_come_from_file_and_options(
    tmp_path, capsys, monkeypatch
):
    path = tmp_path / "own.toml"
    path.write_text('encoder = "xception"\nseed = 3\ndropout = 0.1\n')
    words = {"encoder": "smallcnn", "seed": None, "weights": "none"}
    config = load_training(TrainConfig, path, ["dropout=0.4"], **words)
    assert (config.encoder, config.seed, config.dropout) == ("smallcnn", 3, 0.4)
    assert capsys.readouterr().out == ""

    def load(cls, **_):
        return cls(), ("of a recipe", "of a recipe")

    monkeypatch.setattr("eosin.workflows.recipes.load_train_config", load)
    assert load_training(FindLRConfig, None, None) == FindLRConfig()
    assert capsys.readouterr().out == "Note: of a recipe\n"


def test_ends_are_aligned_and_stay_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_ends({"Report": "/a/long/path/report.html", "Next": "eosin view out/ [x]"})
    assert capsys.readouterr().out == (
        "Report /a/long/path/report.html\nNext   eosin view out/ [x]\n"
    )


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
