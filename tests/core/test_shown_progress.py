import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

import eosin
from eosin.core import WATCHED, Progress, shown_progress
from eosin.core.shown_progress import (
    NotebookProgress,
    TerminalProgress,
    find_progress,
)

UNITS = (
    *("bags", "bytes", "epochs", "features", "galleries", "maps", "models", "overlays"),
    *("patches", "slides", "steps", "tiles"),
)


def test_a_log_file_gets_plain_lines(monkeypatch):
    monkeypatch.setattr(shown_progress._LineTask, "every_s", 0)
    console = Console(file=io.StringIO(), width=80)
    with TerminalProgress(console).task("Tiling", 3) as task:
        task.advance(note="S1")
        task.advance(2)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "Tiling: 1/3  S1"
    assert lines[1] == "Tiling: 3/3  S1"
    assert lines[2].startswith("Tiling: 3/3 in ")


@pytest.mark.parametrize(
    ("total", "n", "line"),
    [
        (None, 5, "Work: 5 in "),
        (None, 0, "Work: done in "),
        (12_345_678, 12_345_678, "Work: 12,345,678/12,345,678 in "),
    ],
)
def test_what_was_counted_is_told_at_the_end(total, n, line):
    console = Console(file=io.StringIO(), width=80)
    with TerminalProgress(console).task("Work", total) as task:
        task.advance(n)
    assert console.file.getvalue().startswith(line)


def test_a_terminal_gets_a_bar():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with TerminalProgress(console).task("Tiling", 2) as task:
        task.advance(note="S1")
        task.advance()
    text = console.file.getvalue()
    assert "Tiling" in text
    assert "2/2" in text


def test_every_counted_task_says_its_unit():
    """The last word of a task's name is what is counted, or the task counts nothing."""
    source = Path(eosin.__file__).parent
    task = re.compile(r"\.task\(\s*f?\"([^\"]+)\",\s*([^\s)]+)")
    found = [m for path in source.rglob("*.py") for m in task.findall(path.read_text())]
    assert len(found) > 20
    for name, total in found:
        unit = name.split()[-1]
        is_told = unit in UNITS or unit.endswith("}")
        assert (total == "None" and "bytes" not in name) or is_told, name


def test_nobody_is_told_where_nobody_watches(capsys):
    assert type(find_progress()) is Progress
    with WATCHED.task("Tiling slides", 2) as task:
        task.advance(2)
    WATCHED.say("done")
    assert capsys.readouterr() == ("", "")


def test_a_notebook_gets_one_line_that_changes(monkeypatch):
    shown = []
    monkeypatch.setattr(shown_progress._CellTask, "every_s", 0)
    monkeypatch.setattr(shown_progress, "_display", lambda text: shown.append([text]))
    monkeypatch.setattr(
        shown_progress, "_update", lambda _handle, text: shown[-1].append(text)
    )
    with NotebookProgress().task("Tiling slides", 2) as task:
        task.advance(note="S1")
        task.advance()
    (lines,) = shown
    assert lines[0] == "Tiling slides …"
    assert re.fullmatch(r"Tiling slides: 1 of 2, \d\.\d s \(S1\)", lines[1])
    assert re.fullmatch(r"Tiling slides: 2 of 2, \d\.\d s", lines[-1])


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = staticmethod(ZMQInteractiveShell)

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    assert type(find_progress()) is NotebookProgress
