import io

from rich.console import Console

from eosin.cli import progress
from eosin.cli.progress import TerminalProgress


def test_a_log_file_gets_plain_lines(monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0)
    console = Console(file=io.StringIO(), width=80)
    with TerminalProgress(console).task("Tiling", 3) as task:
        task.advance(note="S1")
        task.advance(2)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "Tiling: 1/3  S1"
    assert lines[1] == "Tiling: 3/3  S1"
    assert lines[2].startswith("Tiling: 3/3 in ")


def test_an_unknown_total_is_left_out():
    console = Console(file=io.StringIO(), width=80)
    with TerminalProgress(console).task("Reading", None) as task:
        task.advance(5)
    assert console.file.getvalue().startswith("Reading: 5 in ")


def test_a_terminal_gets_a_bar():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with TerminalProgress(console).task("Tiling", 2) as task:
        task.advance(note="S1")
        task.advance()
    text = console.file.getvalue()
    assert "Tiling" in text
    assert "2/2" in text
