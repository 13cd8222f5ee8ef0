"""What a user waits for before anything happens, against another checkout.

    python benchmarks/starting.py --against OTHER/src [--run RUN --slide SLIDE]

Seconds of wall clock and of processor, medians in turn with files in the cache: of
`import eosin`, `eosin --help`, `doctor`, and with a run of a tile classifier `predict`
from the start of the process to what the model says of the first tiles. `tile` and
`validate` are given what is not there, so that they end where work would begin.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

OURS = Path(__file__).parents[1] / "src"
COMMAND = "import sys; from eosin.cli.main import run; sys.argv[1:] = {}; run()"
# Ends the process when ONNX Runtime has scored tiles for the first time.
FIRST = """
import os, onnxruntime
class Session(onnxruntime.InferenceSession):
    def run(self, *args, **options):
        super().run(*args, **options)
        os._exit(0)
onnxruntime.InferenceSession = Session
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, required=True, metavar="PATH")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    cases = {
        "import eosin": "import eosin",
        "eosin --help": COMMAND.format(["--help"]),
        "doctor": COMMAND.format(["doctor"]),
        "tile, start": COMMAND.format(["tile", "none.csv", "-o", "out"]),
        "validate, start": COMMAND.format(["validate", "none.svs"]),
    }
    if options.run and options.slide:
        given = [str(path.resolve()) for path in (options.run, options.slide)]
        words = ["predict", *given, "-o", "out"]
        cases["predict, first tiles"] = FIRST + COMMAND.format(words)
    result = {name: compare(code, options) for name, code in cases.items()}
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2))


def compare(code: str, options: argparse.Namespace) -> Mapping[str, object]:
    sources = {"before": options.against, "now": OURS}
    # The first turn fills the caches.
    turns = [
        {name: measure(code, source) for name, source in sources.items()}
        for _ in range(options.repeats + 1)
    ][1:]
    found = {
        name: [round(statistics.median(kind), 3) for kind in zip(*times, strict=True)]
        for name, times in ((name, [turn[name] for turn in turns]) for name in sources)
    }
    return {
        name: dict(zip(("wall", "cpu"), two, strict=True))
        for name, two in found.items()
    }


def measure(code: str, source: Path) -> tuple[float, float]:
    """Seconds of wall clock and of processor that one process takes."""
    # Compiled once, as where eosin is installed.
    paths = {"PYTHONPATH": str(source.resolve()), "PYTHONDONTWRITEBYTECODE": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**os.environ, **paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, spent


if __name__ == "__main__":
    main()
