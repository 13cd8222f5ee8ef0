"""Spoiled files of every kind, and what reading them costs.

    python benchmarks/fuzz.py [--cases 10000] [--seed 0] [--targets slide,table]
                              [-o fuzz.json] [--keep FOLDER] [--jobs 2]

Sound files (`fuzz_seeds.py`) are spoiled at random: bytes changed, cut, doubled and
left out, numbers and texts replaced by hostile ones, headers' entries rewritten, two
files joined. Each is read in a process of its own, which is stopped after 10 s or
above 2 GB. Reading it, or refusing it with an error of eosin's own, is right; all else
is counted, kept in FOLDER and listed: foreign errors, hangs, signals, memory. A case
depends on the seed and its number alone.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from fuzz_spoiling import spoil

from eosin.annotations import Feature, read_annotations, write_geojson
from eosin.bags import read_bag_table, read_slide_bag
from eosin.cohorts import read_cohort, read_patch_csv
from eosin.core import EosinError, load_config
from eosin.evaluation import read_predictions
from eosin.inference import open_session
from eosin.inference.sessions import start_session
from eosin.runs.run import read_run
from eosin.settings import TileTraining
from eosin.slides import fingerprint_slide, open_slide
from eosin.slides.pack_reader import list_packed, name_packed
from eosin.tiles import OtsuTissue, find_tissue, open_tile_folder, read_manifest

MOST_SECONDS, MOST_MB = 10.0, 2048
_ADDRESS_BYTES = 12 << 30
_PATCH_COLUMNS = {"id": ("id",), "label": ("label",)}


def read_slide(path: Path) -> None:
    with open_slide(path) as slide:
        look_at_slide(slide)
    fingerprint_slide(path)


def look_at_slide(slide: object) -> None:
    """Do what tiling, validating and drawing do with a slide."""
    slide.thumbnail(256)
    width, height = slide.dimensions
    slide.read(width // 2, height // 2, 256, 256)
    slide.read(max(0, width - 64), max(0, height - 64), 128, 128, level=0)
    if slide.mpp is not None:
        find_tissue(slide, OtsuTissue())


def read_outlines(path: Path) -> None:
    """Read an annotation beside a slide, as NDPA needs one, and write it again."""
    found = read_annotations(path, slide=Glass()) if path.suffix == ".ndpa" else None
    regions = (found or read_annotations(path)).regions
    features = [Feature(region.geometry, region.class_name) for region in regions]
    write_geojson(path.with_name("again.geojson"), features)


class Glass:
    """What NDPA asks of its slide."""

    path, dimensions, mpp = Path("slide.ndpi"), (1000, 800), 0.5
    properties: Mapping[str, str] = {
        "hamamatsu.XOffsetFromSlideCentre": "100000",
        "hamamatsu.YOffsetFromSlideCentre": "-50000",
    }

    def require_mpp(self) -> float:
        return self.mpp


def read_pack(path: Path) -> None:
    for name in list_packed(path):
        with open_slide(name_packed(path, name)) as slide:
            look_at_slide(slide)


def read_table(path: Path) -> None:
    read_cohort(path, needs_files=False, class_names=("normal", "tumor"))
    read_cohort(path)


def read_bag(path: Path) -> None:
    read_slide_bag(path, slide_mpp=0.5).read()


def read_run_folder(path: Path) -> None:
    run = read_run(path)
    run.splits, run.held_out, run.notes, run.encoder  # noqa: B018 - read when asked for
    if run.card.learner != "tiles":
        run.open_heads("cpu")
    for name in run.card.list_model_files():
        start_session(path / name, device="cpu")


def read_tile_folder(path: Path) -> None:
    folder = open_tile_folder(path)
    folder.studied_tiles, folder.slide_labels, folder.inputs  # noqa: B018
    folder.open_reader()


TARGETS: Mapping[str, Callable[[Path], object]] = {
    "slide": read_slide,
    "annotation": read_outlines,
    "table": read_table,
    "patch_table": lambda path: read_patch_csv(path, _PATCH_COLUMNS),
    "settings": lambda path: load_config(TileTraining, path=path),
    "manifest": read_manifest,
    "predictions": read_predictions,
    "bag_table": read_bag_table,
    "features": read_bag,
    "pack": read_pack,
    "onnx": lambda path: open_session(path, device="cpu"),
    "run": read_run_folder,
    "bag_run": read_run_folder,
    "tiles": read_tile_folder,
}
# Of a hundred cases; slides and annotations come from most programs.
_SHARES = {"slide": 34, "annotation": 14, "features": 12, "table": 8}


@dataclass(frozen=True)
class Fault:
    """A case that did not end as it should."""

    number: int
    target: str
    file: str
    kind: str
    where: str
    seconds: float
    peak_mb: float


def list_files(folder: Path) -> list[Path]:
    """List what may be spoiled of a target."""
    whole = folder / "whole"
    found = whole.rglob("*") if whole.is_dir() else folder.iterdir()
    return sorted(path for path in found if path.is_file())


def make_case(number: int, seed: int, seeds: Path, targets: list[str], work: Path):
    """Spoil a file; returns its target, its name and what is to be read."""
    rng = random.Random(f"{seed} {number}")
    weights = [_SHARES.get(name, 4) for name in targets]
    target = rng.choices(targets, weights)[0]
    files = list_files(seeds / target)
    source, other = rng.choice(files), rng.choice(files)
    data = spoil(source.read_bytes(), source.name, rng, other.read_bytes())
    shutil.rmtree(work, ignore_errors=True)
    whole = seeds / target / "whole"
    if whole.is_dir():
        shutil.copytree(whole, work)
        (work / source.relative_to(whole)).write_bytes(data)
        return target, str(source.relative_to(whole)), work
    work.mkdir(parents=True)
    (work / source.name).write_bytes(data)
    return target, source.name, work / source.name


def run_child(target: str, path: Path, report: Path) -> None:
    """Read a file and end the process: 0 where it went as it should."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")
    code = 0
    try:
        TARGETS[target](path)
    except EosinError as error:
        report.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
    except BaseException:  # noqa: BLE001 - what else there is, is what is looked for
        report.write_text(traceback.format_exc(), encoding="utf-8")
        code = 1
    os._exit(code)


def supervise(pid: int) -> tuple[str, float, float]:
    """Wait for a process, or stop it; returns what was wrong, seconds and MB."""
    started, wait, fault = time.monotonic(), 0.001, ""
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        seconds = time.monotonic() - started
        if ended:
            break
        if not fault and seconds > MOST_SECONDS:
            fault = "hang"
            os.kill(pid, signal.SIGKILL)
        if not fault and measure_mb(pid) > MOST_MB:
            fault = "memory"
            os.kill(pid, signal.SIGKILL)
        time.sleep(wait)
        wait = min(0.02, wait * 1.5)
    peak_mb = usage.ru_maxrss / 1024
    code = os.waitstatus_to_exitcode(status)
    if not fault and peak_mb > MOST_MB:
        fault = "memory"
    if not fault and code < 0:
        fault = f"signal {-code}"
    return fault or ("foreign error" if code else ""), seconds, peak_mb


def measure_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def find_place(report: Path) -> str:
    """Name the error and the last line of eosin that it went through."""
    if not report.exists():
        return ""
    lines = report.read_text(encoding="utf-8", errors="replace").splitlines()
    inside = [line.strip() for line in lines if "eosin/" in line and "File" in line]
    last = inside[-1].rpartition("eosin/")[2] if inside else ""
    return f"{lines[-1][:160] if lines else ''} | {last}"


def run_cases(numbers: range, given: argparse.Namespace, seeds: Path, answers) -> None:
    """Run some of the cases one after another, each in a process of its own."""
    cv2.setNumThreads(1)
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    report = scratch / "report.txt"
    try:
        for number in numbers:
            work = scratch / "case"
            target, name, path = make_case(
                number, given.seed, seeds, given.targets, work
            )
            report.unlink(missing_ok=True)
            pid = os.fork()
            if pid == 0:
                run_child(target, path, report)
            kind, seconds, peak_mb = supervise(pid)
            refused = not kind and report.exists()
            fault = None
            if kind:
                where = find_place(report)
                fault = Fault(number, target, name, kind, where, seconds, peak_mb)
                if given.keep:
                    kept = given.keep / f"{number:06d}-{target}"
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(work, kept)
                    if report.exists():
                        shutil.copy(report, kept / "report.txt")
            answers.put((target, refused, fault, seconds, peak_mb))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        answers.put(None)


def gather(answers, n_jobs: int, n_cases: int) -> Iterator[tuple]:
    """Yield each case's answer, and say how far it is."""
    n_open, n_done = n_jobs, 0
    while n_open:
        answer = answers.get()
        if answer is None:
            n_open -= 1
            continue
        n_done += 1
        if n_done % 500 == 0:
            print(f"{n_done} of {n_cases}", file=sys.stderr, flush=True)
        yield answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--seeds", type=Path, help="folder of sound files, kept")
    parser.add_argument("--keep", type=Path, help="folder for the cases that fail")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, default=Path("fuzz.json"))
    given = parser.parse_args()
    given.targets = given.targets.split(",")
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}")
    made = Path(tempfile.mkdtemp(prefix="fuzz-seeds-"))
    seeds = given.seeds or made
    if not seeds.is_dir() or not any(seeds.iterdir()):
        # In a process of its own: this one must be without threads to be forked.
        maker = Path(__file__).with_name("fuzz_seeds.py")
        subprocess.run([sys.executable, str(maker), str(seeds)], check=True)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    numbers = range(given.first, given.first + given.cases)
    started = time.monotonic()
    workers = [
        context.Process(
            target=run_cases, args=(numbers[job :: given.jobs], given, seeds, answers)
        )
        for job in range(given.jobs)
    ]
    for worker in workers:
        worker.start()
    n_of: Counter[str] = Counter()
    n_refused, slowest, largest = 0, 0.0, 0.0
    faults: list[Fault] = []
    for target, refused, fault, seconds, peak_mb in gather(
        answers, given.jobs, given.cases
    ):
        n_of[target] += 1
        n_refused += refused
        slowest, largest = max(slowest, seconds), max(largest, peak_mb)
        if fault:
            faults.append(fault)
    shutil.rmtree(made, ignore_errors=True)
    kinds = Counter(fault.kind for fault in faults)
    result = {
        "cases": sum(n_of.values()),
        "seed": given.seed,
        "by target": dict(sorted(n_of.items())),
        "refused": n_refused,
        "faults": dict(kinds),
        "slowest_s": round(slowest, 2),
        "largest_mb": round(largest),
        "seconds": round(time.monotonic() - started),
        "places": dict(Counter(f"{f.target}: {f.kind}: {f.where}" for f in faults)),
        "list": [asdict(fault) for fault in sorted(faults, key=lambda f: f.number)],
    }
    given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "list"}, indent=1))
    sys.exit(1 if faults or result["cases"] != given.cases else 0)


if __name__ == "__main__":
    main()
