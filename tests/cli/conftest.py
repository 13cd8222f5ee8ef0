"""A small made study, for commands that need one, and a hand on Ctrl-C."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from eosin.workflows.demo import PhantomCohort, make_phantom_cohort
from eosin.workflows.tile import TileConfig, tile_cohort
from eosin.workflows.train_tiles import TrainConfig, train_classifier

# Tables that tell of time beside what they tell of slides or epochs.
_TIMED = ("history.csv", "slides.csv")


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> PhantomCohort:
    folder = tmp_path_factory.mktemp("cohort")
    return make_phantom_cohort(folder, n_patients=10, n_new=2, size_px=(1024, 896))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="session")
def tile_folder(folder: Path, cohort: PhantomCohort) -> Path:
    tile_cohort(cohort.table, TileConfig(mpp=1.0, tile_px=64), folder / "unbroken")
    return folder / "unbroken"


@pytest.fixture(scope="session")
def run_folder(folder: Path, tile_folder: Path) -> Path:
    config = TrainConfig(encoder="smallcnn", weights="none", tune_epochs=2)
    train_classifier(tile_folder, config, folder / "trained")
    return folder / "trained"


@pytest.fixture(scope="session")
def interrupt() -> Callable[..., tuple[int, str]]:
    """Start a command, end it at a moment; its exit code and what it said.

    It is sent what Ctrl-C sends, or another signal.
    """
    if sys.platform == "win32":
        pytest.skip("sends a POSIX signal")

    def run(
        *arguments: object,
        when: Callable[[subprocess.Popen[str]], bool],
        send: signal.Signals = signal.SIGINT,
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
        deadline = time.monotonic() + 60
        while not when(process):
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
                ("cache/", "parts/", "state/")
            ):
                continue
            if path.name in _TIMED:
                table = pd.read_csv(path)
                results[name] = table.drop(columns="seconds", errors="ignore").to_csv()
            else:
                results[name] = path.read_bytes()
        return results

    return read
