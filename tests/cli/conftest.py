"""A hand on Ctrl-C, and what a command wrote."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from eosin.cli.main import app
from eosin.cli.options import spread_values

# Tables that tell of time beside what they tell of slides or epochs.
_TIMED = ("history.csv", "slides.csv")


@pytest.fixture(scope="session")
def eosin() -> Callable[..., tuple[Result, str]]:
    """Run a command in this process; what came of it, and its text on one line."""

    def run(*words: object) -> tuple[Result, str]:
        done = CliRunner().invoke(app, spread_values(list(map(str, words))))
        return done, " ".join(f"{done.output} {done.exception or ''}".split())

    return run


@pytest.fixture(scope="session")
def interrupt() -> Callable[..., tuple[int, str]]:
    """Start a command, end it by a signal at a moment; its exit code and last words."""
    if sys.platform == "win32":
        pytest.skip("sends a POSIX signal")

    def run(
        *arguments: object, when: Callable[[], bool], send: signal.Signals
    ) -> tuple[int, str]:
        # Tests that run in the background ignore Ctrl-C, and so would the command.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "eosin", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, handler)
        deadline = time.monotonic() + 120
        while not when():
            assert process.poll() is None, "it ended before the moment came"
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.002)
        process.send_signal(send)
        _, text = process.communicate(timeout=60)
        return process.returncode, text

    return run


@pytest.fixture(scope="session")
def read_results() -> Callable[[Path], dict[str, object]]:
    """Read whatever a command wrote, but for what tells of time."""

    def read(folder: Path) -> dict[str, object]:
        assert not list(folder.rglob("*.part*")), "something half-written is left"
        results: dict[str, object] = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            if path.name == "run.json" or name.startswith(
                ("cache/", "parts/", "state/", "evaluation/")
            ):
                continue
            if path.name in _TIMED:
                table = pd.read_csv(path)
                results[name] = table.drop(columns="seconds", errors="ignore").to_csv()
            else:
                results[name] = path.read_bytes()
        return results

    return read
