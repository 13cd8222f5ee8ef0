"""A whole slide of 46,000 x 33,000 px: tiling it, and predicting from it.

    python benchmarks/whole_slide.py --weights MOBILENETV2.weights.h5 -o whole.json

The slide is made of phantom blocks of 4,096 px (tissue on about a third), JPEG, three
levels. `tile` is timed as a whole and in tissue detection alone. Prediction is compared
with reading alone and with the model alone on the same tiles, in turn, as medians;
MobileNetV2's weights change no time, so `--weights none` does too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import tifffile

from eosin.inference import open_session, score_tiles
from eosin.models import build_classifier, build_encoder, export_onnx
from eosin.settings import TileSpec, TilingSettings
from eosin.slides import make_phantom, open_slide
from eosin.tiles import OtsuTissue, find_boxes, find_tissue, place_tiles
from eosin.workflows.tile import tile_cohort

SIZE = (46_000, 33_000)
BLOCK, NATIVE, MPP = 4096, 256, 0.25
DOWNSAMPLES = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="none")
    parser.add_argument("--tiles", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_slide(folder / "slide.tif")
        result = {
            "size_px": SIZE,
            "file_mb": round((folder / "slide.tif").stat().st_size / 1e6),
            "tile": time_tiling(folder),
            "predict": time_prediction(folder, options),
        }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2))


def write_slide(path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = [make_phantom(seed=s, size_px=(BLOCK, BLOCK), mpp=MPP) for s in range(2)]
    images = [block.image for block in blocks]
    images.append(np.full((BLOCK, BLOCK, 3), 244, np.uint8))
    n_columns, n_rows = -(-SIZE[0] // BLOCK), -(-SIZE[1] // BLOCK)
    kinds = rng.choice([0, 1, 2], (n_rows, n_columns), p=[0.25, 0.25, 0.5])
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, downsample in enumerate(DOWNSAMPLES):
            side = BLOCK // downsample
            small = [
                cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
                for image in images
            ]
            encoded = [encode_block(image) for image in small]
            width, height = SIZE[0] // downsample, SIZE[1] // downsample
            file.write(
                iter_tiles(encoded, kinds, width, height),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(NATIVE, NATIVE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression=7,
                subfiletype=1 if level else 0,
                resolution=(10_000 / MPP / downsample,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def encode_block(image: np.ndarray) -> list[list[bytes]]:
    """Encode a block's native tiles, by row and column."""
    n = image.shape[0] // NATIVE
    return [
        [
            simplejpeg.encode_jpeg(
                np.ascontiguousarray(
                    image[y * NATIVE :, x * NATIVE :][:NATIVE, :NATIVE]
                ),
                80,
                "RGB",
                "420",
            )
            for x in range(n)
        ]
        for y in range(n)
    ]


def iter_tiles(
    encoded: list[list[list[bytes]]], kinds: np.ndarray, width: int, height: int
) -> Iterator[bytes]:
    n = len(encoded[0])
    for row in range(-(-height // NATIVE)):
        for column in range(-(-width // NATIVE)):
            block = encoded[kinds[row // n, column // n]]
            yield block[row % n][column % n]


def time_tiling(folder: Path) -> dict[str, object]:
    (folder / "slides.csv").write_text("path,label\nslide.tif,normal\n")
    started = time.perf_counter()
    config = TilingSettings(mpp=0.5, tile_px=256)
    result = tile_cohort(folder / "slides.csv", folder / "tiles", config)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    with open_slide(folder / "slide.tif") as slide:
        find_tissue(slide, OtsuTissue())
    tissue = time.perf_counter() - started
    return {
        "n_tiles": result.n_tiles,
        "seconds": round(seconds, 2),
        "share in tissue detection": round(tissue / seconds, 3),
        "tiles/s": round(result.n_tiles / seconds),
    }


def time_prediction(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    model = build_classifier(
        build_encoder("mobilenetv2", tile_px=256, weights=options.weights, seed=0),
        n_classes=2,
    )
    export_onnx(model, folder / "model.onnx")
    session = open_session(folder / "model.onnx")
    spec = TileSpec(0.5, 256)
    times: dict[str, list[float]] = {"reader": [], "model": [], "both": []}
    with open_slide(folder / "slide.tif") as slide:
        tissue = find_tissue(slide, OtsuTissue())
        tiles = place_tiles(slide, spec, tissue, min_tissue=0.25)
        boxes = find_boxes(tiles)[: options.tiles]

    def read(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), 256, 256, 3), np.uint8)
        slide.read_tiles(boxes[rows], out)
        return out

    batches = [np.arange(s, min(s + 32, len(boxes))) for s in range(0, len(boxes), 32)]
    pixels = None
    for turn in range(options.repeats + 1):
        for name, found in times.items():
            with open_slide(folder / "slide.tif") as slide:
                started = time.perf_counter()
                if name == "reader":
                    pixels = [read(rows) for rows in batches]
                elif name == "model":
                    for batch in pixels or []:
                        session.run(batch, batch=32)
                else:
                    score_tiles(read, len(boxes), [session], batch=32)
                if turn:
                    found.append(time.perf_counter() - started)
    rates = {
        name: len(boxes) / statistics.median(values) for name, values in times.items()
    }
    return {
        "tiles/s": {name: round(rate, 1) for name, rate in rates.items()},
        "share of the slower": round(
            rates["both"] / min(rates["reader"], rates["model"]), 3
        ),
    }


if __name__ == "__main__":
    main()
