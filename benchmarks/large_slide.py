"""Tile a slide of 100,000 x 100,000 px: seconds and peak memory.

    python benchmarks/large_slide.py [--levels 3 1] [--without-measures] [--folder DIR]

The slide is made: white glass with patches of phantom tissue on a tenth of it, JPEG
tiles that are written one by one, so that nothing here holds the picture. Every tile
on tissue is read once and measured, as `tile` does by default. With one level only,
tissue detection has to read all of level 0.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

from eosin.slides import make_phantom

SIDE_PX = 100_000
TILE_PX = 512
MPP = 0.25
TISSUE_SHARE = 0.10
DOWNSAMPLE, COARSEST = 4, 2


def encode(image: np.ndarray) -> bytes:
    """Encode a tile as tifffile's RGB JPEG, which is JPEG without YCbCr."""
    from imagecodecs import jpeg8_encode

    return bytes(jpeg8_encode(image, level=85, colorspace="rgb", outcolorspace="ycbcr"))


def iter_tiles(level: int, tissue: bytes, glass: bytes) -> Iterator[bytes]:
    """Yield a level's tiles; one of the coarsest is tissue or glass as a whole."""
    n_coarse = -(-SIDE_PX // (TILE_PX * DOWNSAMPLE**COARSEST))
    rng = np.random.default_rng(0)
    blobs = cv2.resize(rng.random((5, 5)).astype(np.float32), (n_coarse, n_coarse))
    is_tissue = blobs > np.quantile(blobs, 1 - TISSUE_SHARE)
    n, part = -(-(SIDE_PX // DOWNSAMPLE**level) // TILE_PX), DOWNSAMPLE**COARSEST
    part //= DOWNSAMPLE**level
    for row in range(n):
        for column in range(n):
            yield tissue if is_tissue[row // part, column // part] else glass


def make_slide(path: Path, n_levels: int) -> None:
    phantom = make_phantom(seed=0, size_px=(2048, 2048), mpp=MPP)
    y, x = np.argwhere(phantom.tissue)[phantom.tissue.sum() // 2]
    tissue = phantom.image[y : y + TILE_PX, x : x + TILE_PX]
    tissue = cv2.resize(tissue, (TILE_PX, TILE_PX))
    glass = np.full((TILE_PX, TILE_PX, 3), 243, np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(n_levels):
            factor = DOWNSAMPLE**level
            side, small = SIDE_PX // factor, TILE_PX // factor
            # A finer level's tiles side by side make one of this level's.
            shrunk = cv2.resize(tissue, (small, small), interpolation=cv2.INTER_AREA)
            own = encode(np.tile(shrunk, (factor, factor, 1)))
            file.write(
                iter_tiles(level, own, encode(glass)),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=1 if level else 0,
                resolution=(10_000 / MPP / factor,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def tile_slide(folder: Path, n_levels: int, *, has_measures: bool) -> dict[str, object]:
    """Make a slide, tile it in a process of its own, and tell what that took."""
    slide, out = folder / "large.tif", folder / f"tiles-{n_levels}"
    make_slide(slide, n_levels)
    (folder / "slides.csv").write_text("path,label\nlarge.tif,normal\n")
    started = time.perf_counter()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "eosin", "tile", str(folder / "slides.csv"),
            "-o", str(out), "--mpp", "0.5", "--tile-px", "256",
            "--set", f"measures={str(has_measures).lower()}",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # Of this process alone, unlike getrusage, which tells of all that ever ran.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"eosin tile ended with {os.waitstatus_to_exitcode(status)}")
    record = json.loads((out / "run.json").read_text())
    return {
        "side_px": SIDE_PX,
        "levels": n_levels,
        "measures": has_measures,
        "file_mb": round(slide.stat().st_size / 1e6, 1),
        "seconds": round(seconds, 1),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
        "tiles": record["notes"]["label_counts"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--levels", type=int, nargs="+", choices=[1, 2, 3], default=[3, 1]
    )
    parser.add_argument("--without-measures", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the slides go [TMPDIR]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for n_levels in options.levels:
            has_measures = not options.without_measures
            found = tile_slide(Path(name), n_levels, has_measures=has_measures)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
