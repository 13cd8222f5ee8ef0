"""The test suites of openslide-python and tiffslide, run on eosin's readers.

A slide of eosin is given the methods of theirs and put in the place of their package;
then pytest runs their tests, which are read from a folder that holds their sources:

    python benchmarks/peer_suites.py openslide_python-1.4.7 -o suite.json
    python benchmarks/peer_suites.py tiffslide-3.0.1 --slides FOLDER -o suite.json

A test that fails must stand in `peer_suites.toml` with what is meant by it, and its
error must be the one that is named there. Otherwise, or where such a test passes, the
exit code is 1. `--slides` holds `CMU-1-Small-Region.svs`, which tiffslide's tests would
download; tests of slides that are not there are skipped or expected to fail.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eosin.core import SlideError

# Now, since it imports the package whose place is taken.
from eosin.slides import open_slide as open_by_eosin

SLIDE = "CMU-1-Small-Region.svs"
# Where a package keeps its tests, and which of the files are not run here.
PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "openslide": ("tests", {}),
    "tiffslide": (
        "tiffslide/tests",
        {
            "test_benchmark.py": "times, and asks for root's password",
            "test_kerchunk.py": "of tiffslide's own module for kerchunk",
            "test_zarr.py": "of tiffslide's own module for zarr",
        },
    ),
}


class PeerSlide:
    """A slide of eosin with the methods that both packages give theirs."""

    def __init__(self, filename: Any) -> None:
        self._filename = filename
        self.slide = open_by_eosin(os.fsdecode(filename))

    @classmethod
    def detect_format(cls, filename: Any) -> str | None:
        try:
            with cls(filename) as opened:
                return opened.slide.vendor
        except SlideError:
            return None

    def close(self) -> None:
        self.slide.close()

    def __enter__(self) -> "PeerSlide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._filename!r})"

    @property
    def level_count(self) -> int:
        return len(self.slide.levels)

    @property
    def dimensions(self) -> tuple[int, int]:
        return self.slide.dimensions

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        return tuple((level.width_px, level.height_px) for level in self.slide.levels)

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        return tuple(float(level.downsample) for level in self.slide.levels)

    @property
    def properties(self) -> Mapping[str, Any]:
        return self.slide.properties

    @property
    def color_profile(self) -> None:
        return None

    @property
    def associated_images(self) -> Mapping[str, Image.Image]:
        images = self.slide.associated_images
        return {name: Image.fromarray(image) for name, image in images.items()}

    def set_cache(self, cache: object) -> None:
        raise NotImplementedError("eosin has no cache that is handed over")

    def get_best_level_for_downsample(self, downsample: float) -> int:
        finer = [d for d in self.level_downsamples if d <= downsample]
        return max(len(finer) - 1, 0)

    def read_array(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> np.ndarray:
        places = (int(value) for value in (*location, *size))
        return self.slide.read(*places, level=level)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        return Image.fromarray(self.read_array(location, level, size)).convert("RGBA")

    def get_thumbnail(self, size: tuple[int, int], **_: object) -> Image.Image:
        factor = max(
            own / wanted for own, wanted in zip(self.dimensions, size, strict=True)
        )
        image = Image.fromarray(self.slide.read_image(downsample=max(1.0, factor)))
        image.thumbnail(size)
        return image


class OpenSlide(PeerSlide):
    """What `openslide.open_slide` gives of a slide."""


class ImageSlide(PeerSlide):
    @classmethod
    def detect_format(cls, filename: Any) -> str | None:
        found = super().detect_format(filename)
        return found and found.upper()


class OpenSlideCache:
    def __init__(self, capacity: int) -> None:
        raise NotImplementedError("eosin has no cache that is handed over")


class TiffSlide(PeerSlide):
    @property
    def ts_tifffile(self) -> SimpleNamespace:
        return SimpleNamespace(filename=self.slide.path.name)

    def read_region(
        self,
        location: tuple[int, int],
        level: int,
        size: tuple[int, int],
        *,
        as_array: bool = False,
        padding: bool = True,
    ) -> Any:
        if not padding:
            raise NotImplementedError("eosin pads always")
        pixels = self.read_array(location, level, size)
        return pixels if as_array else Image.fromarray(pixels)


# What stands in for the package `tiffslide` takes its names from here.
TiffFileError = SlideError
open_slide = TiffSlide


def open_as_openslide(filename: Any) -> PeerSlide:
    with PeerSlide(filename) as opened:
        kind = ImageSlide if opened.slide.reader == "image" else OpenSlide
    return kind(filename)


def put_openslide(checkout: Path) -> None:
    """Take the place of `openslide`; its own Deep Zoom tiles are read from it."""
    sides = ("x", "y", "width", "height")
    names = {
        f"PROPERTY_NAME_BOUNDS_{s.upper()}": f"openslide.bounds-{s}" for s in sides
    }
    module = ModuleType("openslide")
    vars(module).update(
        names,
        PROPERTY_NAME_BACKGROUND_COLOR="openslide.background-color",
        AbstractSlide=PeerSlide,
        OpenSlide=OpenSlide,
        ImageSlide=ImageSlide,
        OpenSlideCache=OpenSlideCache,
        OpenSlideError=SlideError,
        OpenSlideUnsupportedFormatError=SlideError,
        open_slide=open_as_openslide,
        lowlevel=_LowLevel("openslide.lowlevel"),
        __path__=[],
    )
    sys.modules["openslide"] = module
    spec = importlib.util.spec_from_file_location(
        "openslide.deepzoom", checkout / "openslide" / "deepzoom.py"
    )
    deepzoom = importlib.util.module_from_spec(spec)
    sys.modules["openslide.deepzoom"] = deepzoom
    spec.loader.exec_module(deepzoom)


class _LowLevel(ModuleType):
    """Says that every function of OpenSlide's library is there, and has none."""

    def __getattr__(self, name: str) -> SimpleNamespace:
        if name.startswith("_"):
            raise AttributeError(name)
        return SimpleNamespace(available=True)


class Recorder:
    """Keeps what became of each test, and why where it did not pass."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            self._keep(report)

    def pytest_collectreport(self, report: Any) -> None:
        if not report.passed:
            self._keep(report)

    def _keep(self, report: Any) -> None:
        name, why = report.nodeid, report.longrepr
        is_expected = report.skipped and hasattr(report, "wasxfail")
        self.outcomes[name] = "xfailed" if is_expected else report.outcome
        if is_expected:
            self.reasons[name] = report.wasxfail
        elif report.skipped:
            self.reasons[name] = why[2].removeprefix("Skipped: ")
        elif report.failed:
            # From the line that failed; what stands above it did not.
            self.reasons[name] = str(why)[max(0, str(why).rfind("\n>")) :]


def run_suite(checkout: Path, peer: str, slides: Path | None) -> Recorder:
    """Run the tests of a checkout in a folder of their own."""
    tests, left_out = PEERS[peer]
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(checkout / tests, place / "tests")
        if slides:
            for part in ("tests/data", "Aperio"):
                (place / part).mkdir(exist_ok=True)
                shutil.copy(slides / SLIDE, place / part)
        os.environ["OPENSLIDE_TESTDATA_DIR"] = folder
        if peer == "openslide":
            put_openslide(checkout)
        else:
            # A file, since one test asks for the package in another process.
            stub = "from peer_suites import TiffFileError, TiffSlide, open_slide\n"
            (place / "tiffslide.py").write_text(stub)
            paths = [folder, str(Path(__file__).resolve().parent)]
            sys.path[:0] = paths
            paths.append(os.environ.get("PYTHONPATH", ""))
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull]
        options += [f"--ignore={place / 'tests' / name}" for name in left_out]
        pytest.main(
            [*options, f"--rootdir={folder}", str(place / "tests")], plugins=[recorder]
        )
    return recorder


def explain(
    peer: str, recorder: Recorder
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Give the failures that are meant, by what is meant, and what is wrong."""
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    explained: dict[str, list[str]] = {}
    wrong = {}
    for name, outcome in recorder.outcomes.items():
        meant = [
            one
            for one in table[peer]
            if any(fnmatchcase(name, t) for t in one["tests"])
        ]
        if outcome == "failed":
            said = recorder.reasons[name]
            why = [one["why"] for one in meant if re.search(one["error"], said)]
            if why:
                explained.setdefault(why[0], []).append(name)
            else:
                wrong[name] = said
        elif outcome == "passed" and meant:
            wrong[name] = f"passes, and should not: {meant[0]['why']}"
    return explained, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--slides", type=Path, help=f"the folder of {SLIDE}")
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    peer = next((name for name in PEERS if (checkout / name).is_dir()), None)
    if peer is None:
        parser.error(f"{checkout} must hold one of {', '.join(PEERS)}")
    recorder = run_suite(checkout, peer, arguments.slides)
    explained, wrong = explain(peer, recorder)
    others = Counter(
        f"{recorder.outcomes[name]}: {why}"
        for name, why in recorder.reasons.items()
        if recorder.outcomes[name] != "failed"
    )
    result = {
        "suite": checkout.name,
        "eosin": version("eosin"),
        "counts": Counter(recorder.outcomes.values()),
        "failed, and meant": explained,
        "wrong": wrong,
        "not run": others,
        "left out": PEERS[peer][1],
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    return 1 if wrong or not recorder.outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
