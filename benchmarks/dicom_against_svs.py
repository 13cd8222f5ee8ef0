"""Reading the same JPEG tiles from DICOM and from SVS.

The tiles of a slide's level 0 are copied into a DICOM file without encoding them
again, and read from both in turns, on one thread; medians:

    python benchmarks/dicom_against_svs.py SLIDE.svs -o dicom.json

OpenSlide reads both, too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openslide
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from eosin.slides import TiledSlide, open_slide
from eosin.slides.dicom_reader import DICOMSlide

Job = Callable[[], object]
SCANS = {"aligned": (0, 1), "off grid": (100, 1), "half": (0, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--max-tiles", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(
            arguments.slide, Path(folder), arguments.repeats, arguments.max_tiles
        )
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def measure(
    path: Path, folder: Path, repeats: int, max_tiles: int
) -> dict[str, object]:
    with open_slide(path) as slide:
        if not isinstance(slide, TiledSlide):
            raise SystemExit(f"{path}: must be a slide that is read natively")
        copies = {
            name: write_dicom(slide, folder / name, table=name == "table")
            for name in ("table", "no table")
        }
        boxes = {name: make_boxes(slide, *scan) for name, scan in SCANS.items()}
        side = slide.grids[0].tile_width_px
    boxes = {name: found[:max_tiles] for name, found in boxes.items()}
    check_pixels(path, copies["table"], boxes["aligned"], side)
    jobs: dict[str, Callable[[], Job]] = {}
    for name, found in boxes.items():
        jobs[f"svs {name}"] = make_job(open_slide, path, found, side)
        jobs[f"dicom {name}"] = make_job(DICOMSlide, copies["table"], found, side)
    aligned = boxes["aligned"]
    jobs["openslide svs"] = make_openslide_job(path, aligned)
    jobs["openslide dicom"] = make_openslide_job(copies["table"], aligned)
    jobs["opening svs"] = lambda: lambda: open_slide(path).close()
    for name, copy in copies.items():
        jobs[f"opening dicom, {name}"] = make_opening(copy)
    times = in_turns(jobs, repeats)
    return {
        "slide": path.name,
        "native_tile_px": side,
        "tiles": {name: len(found) for name, found in boxes.items()},
        "dicom / svs": {
            name: times[f"dicom {name}"] / times[f"svs {name}"] for name in boxes
        },
        "openslide / eosin, dicom aligned": times["openslide dicom"]
        / times["dicom aligned"],
        "seconds": times,
        "versions": {
            name: version(name)
            for name in ("simplejpeg", "pydicom", "openslide-bin", "tifffile", "numpy")
        },
    }


def write_dicom(slide: TiledSlide, folder: Path, *, table: bool) -> Path:
    """Copy level 0's tiles into a DICOM file, TILED_FULL."""
    grid = slide.grids[0]
    frames = [
        grid.codec.pack(slide.read_native(0, column, row))
        for row in range(grid.n_rows)
        for column in range(grid.n_columns)
    ]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID = generate_uid()
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = slide.dimensions
    made.Columns, made.Rows = grid.tile_width_px, grid.tile_height_px
    made.NumberOfFrames = len(frames)
    made.DimensionOrganizationType = "TILED_FULL"
    made.SamplesPerPixel, made.PlanarConfiguration = 3, 0
    is_rgb = getattr(grid.codec, "colour", "") == "rgb"
    made.PhotometricInterpretation = "RGB" if is_rgb else "YBR_FULL_422"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005, 0.0005]
    groups.PixelMeasuresSequence = Sequence([measures])
    made.SharedFunctionalGroupsSequence = Sequence([groups])
    made.PixelData = encapsulate(frames, has_bot=table)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    folder.mkdir()
    made.save_as(folder / "slide.dcm", enforce_file_format=True)
    return folder / "slide.dcm"


def make_boxes(slide: TiledSlide, shift: int, factor: int) -> np.ndarray:
    grid = slide.grids[0]
    width, height = grid.tile_width_px * factor, grid.tile_height_px * factor
    columns = (slide.dimensions[0] - shift) // width
    rows = (slide.dimensions[1] - shift) // height
    return np.array(
        [
            (x * width + shift, y * height + shift, width, height)
            for y in range(rows)
            for x in range(columns)
        ],
        np.int64,
    )


def check_pixels(path: Path, copy: Path, boxes: np.ndarray, side: int) -> None:
    found = [np.empty((len(boxes), side, side, 3), np.uint8) for _ in range(2)]
    with open_slide(path) as slide, DICOMSlide(copy) as dicom:
        slide.read_tiles(boxes, found[0])
        dicom.read_tiles(boxes, found[1])
    if not np.array_equal(*found):
        raise SystemExit("the two slides must have the same pixels, and they differ")


def make_job(
    opener: Callable[[Path], object], path: Path, boxes: np.ndarray, side: int
) -> Callable[[], Job]:
    out = np.empty((256, side, side, 3), np.uint8)

    def make() -> Job:
        slide = opener(path)

        def read() -> None:
            for start in range(0, len(boxes), 256):
                part = boxes[start : start + 256]
                slide.read_tiles(part, out[: len(part)])

        return read

    return make


def make_openslide_job(path: Path, boxes: np.ndarray) -> Callable[[], Job]:
    def make() -> Job:
        slide = openslide.OpenSlide(path)

        def read() -> None:
            for x, y, width, height in boxes.tolist():
                region = slide.read_region((x, y), 0, (width, height))
                np.asarray(region.convert("RGB"))

        return read

    return make


def make_opening(path: Path) -> Callable[[], Job]:
    return lambda: lambda: DICOMSlide(path).close()


def in_turns(jobs: dict[str, Callable[[], Job]], repeats: int) -> dict[str, float]:
    """Run every job in turn, several times, each made anew; medians of seconds."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, make in jobs.items():
            job = make()
            start = time.perf_counter()
            job()
            if turn:  # the first turn warms the disk's cache
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
