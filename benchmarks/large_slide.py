"""Tile a slide of 100,000 x 100,000 px: seconds and peak memory.

    python benchmarks/large_slide.py [--levels 1] [--measure]

The slide is made: white glass with patches of phantom tissue on a tenth of it. With
one level only, as here by default, tissue detection has to read all of level 0.
"""

import argparse
import json
import resource
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


def encode(image: np.ndarray) -> bytes:
    """Encode a tile as tifffile's RGB JPEG, which is JPEG without YCbCr."""
    from imagecodecs import jpeg8_encode

    return bytes(jpeg8_encode(image, level=85, colorspace="rgb", outcolorspace="ycbcr"))


def iter_tiles(side_px: int, tissue: bytes, glass: bytes) -> Iterator[bytes]:
    n = -(-side_px // TILE_PX)
    rng = np.random.default_rng(0)
    blobs = cv2.resize(rng.random((12, 12)).astype(np.float32), (n, n))
    is_tissue = blobs > np.quantile(blobs, 1 - TISSUE_SHARE)
    for row in range(n):
        for column in range(n):
            yield tissue if is_tissue[row, column] else glass


def make_slide(path: Path, n_levels: int) -> None:
    phantom = make_phantom(seed=0, size_px=(2048, 2048), mpp=MPP)
    y, x = np.argwhere(phantom.tissue)[phantom.tissue.sum() // 2]
    tissue = phantom.image[y : y + TILE_PX, x : x + TILE_PX]
    tissue = cv2.resize(tissue, (TILE_PX, TILE_PX))
    glass = np.full((TILE_PX, TILE_PX, 3), 243, np.uint8)
    parts = encode(tissue), encode(glass)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(n_levels):
            side = SIDE_PX // 4**level
            file.write(
                iter_tiles(side, *parts),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=1 if level else 0,
                resolution=(10_000 / MPP / 4**level,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=int, default=1)
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slide(folder / "large.tif", options.levels)
        (folder / "slides.csv").write_text("path,label\nlarge.tif,normal\n")
        started = time.perf_counter()
        subprocess.run(
            [
                sys.executable, "-m", "eosin", "tile", str(folder / "slides.csv"),
                "-o", str(folder / "tiles"), "--mpp", "0.5", "--tile-px", "256",
                "--set", f"measures={str(options.measure).lower()}",
            ],
            check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        record = json.loads((folder / "tiles" / "run.json").read_text())
        print(
            json.dumps(
                {
                    "side_px": SIDE_PX,
                    "levels": options.levels,
                    "measures": options.measure,
                    "file_mb": (folder / "large.tif").stat().st_size / 1e6,
                    "seconds": round(seconds, 1),
                    "peak_gb": round(peak / 1e9, 3),
                    "tiles": record["notes"]["label_counts"],
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
