"""Reading the same JPEG tiles from DICOM and from SVS.

The tiles of a slide's level 0 are copied into a DICOM file without encoding them
again, and read from both in turns, on one thread; medians:

    python benchmarks/dicom_against_svs.py SLIDE.svs -o dicom.json

OpenSlide reads both, too.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, generate_uid
from slide_reading import Job, eosin_job, in_turns, openslide_job, run

from eosin.slides import TiledSlide, open_slide
from eosin.slides.dicom_reader import DICOMSlide

SCANS = {"aligned": (0, 1), "off grid": (100, 1), "half": (0, 2)}


def measure(path: Path, repeats: int, max_tiles: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        return compare(path, Path(folder), repeats, max_tiles)


def compare(
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
    jobs: dict[str, Job] = {}
    for name, found in boxes.items():
        jobs[f"svs {name}"] = eosin_job(path, found, side)
        jobs[f"dicom {name}"] = eosin_job(copies["table"], found, side)
    aligned = boxes["aligned"]
    jobs["openslide svs"] = openslide_job(path, aligned, side)
    jobs["openslide dicom"] = openslide_job(copies["table"], aligned, side)
    jobs["opening svs"] = lambda: open_slide(path).close()
    for name, copy in copies.items():
        jobs[f"opening dicom, {name}"] = lambda copy=copy: DICOMSlide(copy).close()
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
        for row, column in np.ndindex(grid.offsets.shape)
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


if __name__ == "__main__":
    run(measure, __doc__)
