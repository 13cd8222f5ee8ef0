import re
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from eosin import __version__
from eosin.cli import main
from eosin.core import SlideError

COMMANDS = (
    "doctor",
    "validate",
    "tile",
    "import",
    "lr-find",
    "train",
    "evaluate",
    "predict",
    "interpret",
    "embed",
    "fetch",
    "demo",
)


def run_in_process(monkeypatch, *arguments):
    """Run the command line as the console script does; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["eosin", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.run()
    return ended.value.code


def test_help_lists_every_command():
    text = CliRunner().invoke(main.app, ["--help"]).output
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    text = CliRunner().invoke(main.app, [command, "--help"]).output
    assert f"Example: eosin {command}" in " ".join(text.split())


def iter_commands(group=None, names=()):
    group = group or typer.main.get_command(main.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from iter_commands(command, (*names, name))
        else:
            yield (*names, name), command


@pytest.mark.parametrize(
    ("names", "command"), [pytest.param(*c, id="-".join(c[0])) for c in iter_commands()]
)
def test_help_shows_the_default_of_every_option_that_names_one(names, command):
    # What stands in brackets would be taken for markup if it were not escaped.
    text = (
        CliRunner()
        .invoke(
            main.app, [*names, "--help"], env={"COLUMNS": "200"}, terminal_width=200
        )
        .output
    )
    shown = re.sub(r"[\s│]+", "", text)
    for option in command.params:
        help_text = getattr(option, "help", None) or ""
        for default in re.findall(r"\[([^\]]+)\]", help_text):
            assert re.sub(r"\s+", "", f"[{default}]") in shown


def test_the_version_is_printed():
    assert CliRunner().invoke(main.app, ["--version"]).output.strip() == (
        f"eosin {__version__}"
    )


def test_help_needs_neither_keras_nor_pandas():
    code = (
        "import sys; from eosin.cli.main import app;"
        "bad = {'keras', 'torch', 'pandas', 'matplotlib', 'onnxruntime'};"
        "sys.exit(str(bad & set(sys.modules)) if bad & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_expected_error_is_one_line_and_exit_code_1(monkeypatch, capsys, tmp_path):
    code = run_in_process(
        monkeypatch, "tile", tmp_path / "none.csv", "-o", tmp_path / "out"
    )
    assert code == 1
    text = capsys.readouterr().err
    assert text.startswith("Error: ")
    assert "no such slide table" in text
    assert "Traceback" not in text


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    arguments = ["eosin", "tile", str(tmp_path / "x.csv"), "-o", "y", "--debug"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(ValueError, match="no such slide table"):
        main.run()


def test_wrong_usage_is_exit_code_2(monkeypatch):
    assert run_in_process(monkeypatch, "tile") == 2
    assert run_in_process(monkeypatch, "nonsense") == 2


def test_an_unforeseen_error_says_how_to_report_it(monkeypatch, capsys):
    def fail(*_args, **_options):
        raise ZeroDivisionError("one by nought")

    monkeypatch.setattr(main, "app", fail)
    assert run_in_process(monkeypatch, "doctor") == 1
    text = capsys.readouterr().err
    assert "ZeroDivisionError: one by nought" in text
    assert "--debug" in text
    monkeypatch.setattr(sys, "argv", ["eosin", "doctor", "--debug"])
    with pytest.raises(ZeroDivisionError):
        main.run()


@pytest.fixture
def python_interrupts():
    """Python's own handler, also where a shell started us deaf to Ctrl+C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")],
)
def test_a_signal_ends_the_process_at_once(
    number, code, text, monkeypatch, capsys, python_interrupts
):
    def interrupt(*_args, **_options):
        signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM)
    codes, ignored = [], []
    monkeypatch.setattr(main.os, "_exit", codes.append)
    real = signal.signal

    def note(number, handler):
        if handler is not signal.SIG_IGN:
            return real(number, handler)
        ignored.append(number)
        return None

    monkeypatch.setattr(main.signal, "signal", note)
    main._end_at_once(interrupt)()
    assert codes == [code]
    assert ignored == [signal.SIGINT, signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"{text} The same command again" in capsys.readouterr().err


def test_errors_are_of_one_tree():
    assert issubclass(SlideError, main.EosinError)
