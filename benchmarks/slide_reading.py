"""Reading tiles against the decode they contain, and against other readers.

Everything is measured in one run, in turns, as medians, on one thread:

    python benchmarks/slide_reading.py SLIDE.svs -o reading.json

The bound is the codec alone (simplejpeg, or imagecodecs for JPEG 2000) on bytes
that lie in memory, into memory that is there already.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import psutil
import simplejpeg
from PIL import Image

from eosin.slides import open_slide

Job = Callable[[], object]
Box = tuple[int, int, int, int]

# Starting a process costs what decoding some hundred tiles does.
PROCESS_ROUNDS = 10


def run(measure: Callable[[Path, int, int], object], description: str | None) -> None:
    """Measure the slide that is named, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("slide", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--max-tiles", type=int, default=400)
    arguments = parser.parse_args()
    result = measure(arguments.slide, arguments.repeats, arguments.max_tiles)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def measure(path: Path, repeats: int, max_tiles: int) -> dict[str, object]:
    slide = open_slide(path)
    width, height = slide.native_tile_px or (256, 256)
    columns, rows = slide.dimensions[0] // width, slide.dimensions[1] // height
    aligned = [
        (x * width, y * height, width, height)
        for y in range(rows)
        for x in range(columns)
    ][:max_tiles]
    grid = slide.grids[0]
    # A scan off the grid covers the same native tiles, less the last ones.
    n_rows = max(1, len(aligned) // columns)
    shifted = [
        (x * width + 100, y * height + 100, width, height)
        for y in range(n_rows - 1)
        for x in range(columns - 1)
    ]
    halves = [
        (x * width * 2, y * height * 2, width * 2, height * 2)
        for y in range(n_rows // 2)
        for x in range(columns // 2)
    ]
    aligned = aligned[: n_rows * columns]
    packed = [
        grid.codec.pack(slide.read_native(0, x, y))
        for y in range(n_rows)
        for x in range(columns)
    ]
    job = (grid.codec, packed, width, height)
    times = in_turns(
        {
            "bound": lambda: decode(*job),
            "bound, 10 times": lambda: [decode(*job) for _ in range(PROCESS_ROUNDS)],
            "bound, 10 times, two processes": lambda: decode_in_two_processes(*job),
            "eosin aligned": eosin_job(path, aligned, width),
            "eosin aligned, two threads": eosin_job(path, aligned, width, 2),
            "eosin off grid": eosin_job(path, shifted, width),
            "eosin half": eosin_job(path, halves, width),
            "openslide aligned": openslide_job(path, aligned, width),
            "openslide off grid": openslide_job(path, shifted, width),
            "openslide half": openslide_job(path, halves, width),
            **other_readers(path, aligned),
        },
        repeats,
    )
    bound = times["bound"]
    two_processes = times["bound, 10 times, two processes"]
    return {
        "slide": path.name,
        "native_tile_px": (width, height),
        "codec": type(grid.codec).__name__,
        "native_tiles": len(packed),
        "ms per native tile, bound": 1000 * bound / len(packed),
        "ratio to the bound": {
            name: seconds / bound
            for name, seconds in times.items()
            if "10 times" not in name
        },
        "openslide / eosin": {
            name: times[f"openslide {name}"] / times[f"eosin {name}"]
            for name in ("aligned", "off grid", "half")
        },
        "two cores, speed-up": {
            "decoding alone, processes": times["bound, 10 times"] / two_processes,
            "eosin, threads": times["eosin aligned"]
            / times["eosin aligned, two threads"],
        },
        "MB above the interpreter, 10,000 random tiles": measure_memory(path, width),
        "versions": find_versions(),
    }


def in_turns(jobs: dict[str, Job], repeats: int) -> dict[str, float]:
    """Run every job in turn, several times; medians of wall seconds.

    A job may be made anew for each turn (untimed), so that no reader's cache holds
    what it read the turn before.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            ready = job() if getattr(job, "is_maker", False) else job
            start = time.perf_counter()
            ready()
            if turn:  # the first turn warms the disk's cache and imports
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def eosin_job(path: Path, boxes: list[Box], side: int, threads: int = 1) -> Job:
    def make() -> Job:
        slide = open_slide(path)
        return lambda: read(slide, boxes, side, threads)

    make.is_maker = True
    return make


def openslide_job(path: Path, boxes: list[Box], side: int) -> Job:
    def make() -> Job:
        slide = openslide.OpenSlide(path)
        return lambda: read_openslide(slide, boxes, side)

    make.is_maker = True
    return make


def decode(codec: object, packed: list[bytes], width: int, height: int) -> None:
    """Decode files in memory into memory that is there already: the bound."""
    out = np.empty((height, width, 3), np.uint8)
    if type(codec).__name__ == "JPEGTiles":
        for tile in packed:
            simplejpeg.decode_jpeg(tile, "RGB", buffer=out)
    else:
        for tile in packed:
            imagecodecs.jpeg2k_decode(tile, numthreads=1, out=out)


def decode_in_two_processes(*arguments: object) -> None:
    """What two cores of this machine can do at most, without a shared interpreter."""
    context = multiprocessing.get_context("fork")
    codec, packed, width, height = arguments
    jobs = [
        context.Process(target=decode, args=(codec, part, width, height))
        for part in (packed[::2] * PROCESS_ROUNDS, packed[1::2] * PROCESS_ROUNDS)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()


def read(slide, boxes: list[Box], side: int, threads: int = 1) -> None:
    out = OUT.setdefault(side, np.empty((256, side, side, 3), np.uint8))
    for start in range(0, len(boxes), 256):
        part = np.array(boxes[start : start + 256], np.int64)
        slide.read_tiles(part, out[: len(part)], threads=threads)


OUT: dict[int, np.ndarray] = {}


def read_openslide(slide, boxes: list[Box], side: int) -> None:
    """What CLAM, histolab and TIAToolbox do: a region, then RGB, then its size."""
    for x, y, width, height in boxes:
        level = slide.get_best_level_for_downsample(width / side)
        own = slide.level_downsamples[level]
        size = (round(width / own), round(height / own))
        image = slide.read_region((x, y), level, size).convert("RGB")
        if size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        np.asarray(image)


Read = Callable[[int, int, int, int], object]


def open_tiffslide(path: Path) -> Read:
    import tiffslide

    slide = tiffslide.TiffSlide(path)
    return lambda x, y, w, h: slide.read_region((x, y), 0, (w, h), as_array=True)


def open_pyvips(path: Path) -> Read:
    import pyvips

    image = pyvips.Image.new_from_file(str(path), access="random")[:3]
    region = pyvips.Region.new(image)
    return lambda x, y, w, h: np.frombuffer(region.fetch(x, y, w, h), np.uint8)


def open_cucim(path: Path) -> Read:
    import cucim

    image = cucim.CuImage(str(path))
    return lambda x, y, w, h: np.asarray(image.read_region((x, y), (w, h), 0))


def open_fastslide(path: Path) -> Read:
    import fastslide

    slide = fastslide.FastSlide.from_file_path(str(path))
    return lambda x, y, w, h: slide.read_region((x, y), 0, (w, h)).numpy()


OTHERS = {
    "tiffslide": open_tiffslide,
    "pyvips": open_pyvips,
    "cucim": open_cucim,
    "fastslide": open_fastslide,
}


def other_job(opener: Callable[[Path], Read], path: Path, boxes: list[Box]) -> Job:
    def make() -> Job:
        read_region = opener(path)
        return lambda: [read_region(*box) for box in boxes] and None

    make.is_maker = True
    return make


def other_readers(path: Path, boxes: list[Box]) -> dict[str, Job]:
    """Readers that happen to be installed, each in the way its own docs show."""
    found: dict[str, Job] = {}
    for name, opener in OTHERS.items():
        try:
            opener(path)(*boxes[0])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said
            print(f"{name} left out: {error}", file=sys.stderr)
        else:
            found[f"{name} aligned"] = other_job(opener, path, boxes)
    return found


def measure_memory(path: Path, side: int) -> float:
    """Peak resident memory of reading 10,000 random tiles, in a process of its own.

    Linux only; `getrusage` would count what the starting process had before.
    """
    code = (
        "import re, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from eosin.slides import open_slide\n"
        "s = open_slide(sys.argv[1]); side = int(sys.argv[2])\n"
        "def peak():\n"
        "    text = Path('/proc/self/status').read_text()\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+)', text)[1])\n"
        "before = peak()\n"
        "rng = np.random.default_rng(0); w, h = s.dimensions\n"
        "out = np.empty((64, side, side, 3), np.uint8)\n"
        "for _ in range(157):\n"
        "    x, y = rng.integers(0, w - side, 64), rng.integers(0, h - side, 64)\n"
        "    b = np.stack([x, y, np.full(64, side), np.full(64, side)], 1)\n"
        "    s.read_tiles(b, out)\n"
        "print((peak() - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(side)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def find_versions() -> dict[str, str]:
    names = [
        "simplejpeg",
        "imagecodecs",
        "openslide-python",
        "openslide-bin",
        "pillow",
        "tifffile",
        "tiffslide",
        "pyvips",
        "cucim-cu12",
        "fastslide",
        "numpy",
    ]
    found = {"physical cores": str(psutil.cpu_count(logical=False))}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    run(measure, __doc__)
