"""Kill tile, train and predict at random moments and compare what comes out.

    python benchmarks/kill_and_resume.py [--times 20] [--seed 0]

Each command is started in a fresh folder, killed (SIGKILL, which nothing can catch)
after a random time, started again, and so on until it ends by itself. Its results
must equal those of a run that nobody killed.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from eosin.workflows.demo import make_phantom_cohort

# What tells of time or of this very run, and so differs by nature.
NOT_COMPARED = {"run.json"}


def list_results(folder: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    results = {}
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.name in NOT_COMPARED:
                continue
            if path.name in ("slides.csv", "history.csv"):
                table = pd.read_csv(path).drop(columns="seconds", errors="ignore")
                content = table.to_csv().encode()
            else:
                content = path.read_bytes()
            name = str(path.relative_to(folder))
            results[name] = hashlib.sha256(content).hexdigest()
    return results


def run_killed(
    command: list[str], seconds: float, rng: random.Random
) -> tuple[int, bool]:
    """Run a command to its end; returns how often it was killed on the way."""
    n_kills = 0
    while True:
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # The first kill falls anywhere in a run; later ones may fall in a shorter
        # rest, and the run is left alone after the third.
        wait = rng.uniform(0.2, 1.0) * seconds if n_kills < 3 else None
        try:
            code = process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
            continue
        return n_kills, code == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    report = {}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        cohort = make_phantom_cohort(
            base / "cohort", n_patients=10, n_new=4, size_px=(1280, 1024)
        )
        eosin = [sys.executable, "-m", "eosin"]
        tiles, run, out = base / "tiles", base / "run", base / "out"
        jobs = {
            "tile": (
                [*eosin, "tile", str(cohort.table), "--mpp", "1", "--tile-px", "64"],
                tiles,
                ("tiles.parquet", "slides.csv", "overviews/*"),
            ),
            "train": (
                [*eosin, "train", str(tiles), "--encoder", "smallcnn", "--weights",
                 "none", "--set", "tune_epochs=4", "tune_learning_rate=0.002"],
                run,
                ("card.json", "predictions.parquet", "splits.csv", "history.csv"),
            ),
            "predict": (
                [*eosin, "predict", str(run), *map(str, cohort.new_slides)],
                out,
                ("*.geojson", "*.tif", "*.jpg", "slides.csv", "failures.csv"),
            ),
        }  # fmt: skip
        for step, (command, folder, patterns) in jobs.items():
            started = time.perf_counter()
            subprocess.run(
                [*command, "-o", str(folder)],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            seconds = time.perf_counter() - started
            expected = list_results(folder, patterns)
            n_equal, n_kills, different = 0, 0, []
            for index in range(options.times):
                other = base / f"{step}-{index}"
                kills, is_done = run_killed([*command, "-o", str(other)], seconds, rng)
                found = list_results(other, patterns)
                leftovers = list(other.rglob("*.part*"))
                is_equal = is_done and found == expected and not leftovers
                n_equal += is_equal
                n_kills += kills
                if not is_equal:
                    different.append(
                        sorted(k for k in expected if found.get(k) != expected[k])
                    )
                shutil.rmtree(other)
            report[step] = {
                "runs": options.times,
                "equal": n_equal,
                "kills": n_kills,
                "seconds_unbroken": round(seconds, 1),
                "files_compared": len(expected),
                "different": different,
            }
            print(json.dumps({step: report[step]}), flush=True)


if __name__ == "__main__":
    main()
