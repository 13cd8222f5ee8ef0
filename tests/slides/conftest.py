"""Tiled TIFF files of every kind that the native reader serves."""

from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
import tifffile

from eosin.slides.byte_sources import LocalFile


def paint(height, width, seed=0):
    """Smooth colours with detail, so that every codec has something to do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-8, 9, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def iter_tiles(image, side):
    """Cut an image into padded tiles, row by row."""
    for y in range(0, image.shape[0], side):
        for x in range(0, image.shape[1], side):
            tile = np.full((side, side, 3), 255, np.uint8)
            part = image[y : y + side, x : x + side]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def encode_ycbcr_j2k(tile):
    """Encode the way Aperio's compression 33003 does: YCbCr under no transform."""
    swapped = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    return imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(swapped), codecformat="j2k", mct=False, reversible=True
    )


def encode_rgb_j2k(tile):
    return imagecodecs.jpeg2k_encode(tile, codecformat="j2k", reversible=True)


def encode_rgb_jpeg(tile):
    """Encode RGB components as they are, without the marker that says so."""
    data = imagecodecs.jpeg8_encode(
        tile, level=90, colorspace="RGB", outcolorspace="RGB"
    )
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 16 :]


def write_tiled(path: Path, kind: str, *, size=(700, 900), side=256, sparse=()) -> Path:
    """Write a slide of two levels (factor 4) of one kind."""
    image = paint(*size)
    aperio = kind.startswith("svs")
    options = {
        "svs-jpeg": {"photometric": "ycbcr", "compression": "jpeg"},
        "jpeg": {"photometric": "ycbcr", "compression": "jpeg"},
        "svs-rgb": {"photometric": "rgb", "compression": 7, "encode": encode_rgb_jpeg},
        "svs-33003": {
            "photometric": "ycbcr",
            "compression": 33003,
            "encode": encode_ycbcr_j2k,
        },
        "svs-33005": {
            "photometric": "rgb",
            "compression": 33005,
            "encode": encode_rgb_j2k,
        },
        "none": {"photometric": "rgb"},
        "deflate": {"photometric": "rgb", "compression": "deflate"},
        "lzw": {"photometric": "rgb", "compression": "lzw", "predictor": True},
        "bigtiff": {"photometric": "ycbcr", "compression": "jpeg"},
    }[kind]
    encode = options.pop("encode", None)
    if options["photometric"] == "ycbcr" and not encode:
        options["subsampling"] = (2, 2)
        encode = encode_jpeg
        options["compression"] = 7
    description = (
        "Aperio Image Library v1\n900x700|AppMag = 20|MPP = 0.5|Left = 1"
        if aperio
        else None
    )
    with tifffile.TiffWriter(path, bigtiff=kind == "bigtiff") as file:
        for level in (0, 1):
            if level:
                image = cv2.resize(
                    image,
                    (size[1] // 4, size[0] // 4),
                    interpolation=cv2.INTER_AREA,
                )
            if encode:
                tiles = [
                    b"" if (level, number) in sparse else encode(tile)
                    for number, tile in enumerate(iter_tiles(image, side))
                ]
                data = iter(tiles)
            else:
                data = image
            file.write(
                data,
                shape=image.shape,
                dtype=np.uint8,
                tile=(side, side),
                description=description,
                subfiletype=1 if level and not aperio else 0,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
                metadata=None,
                **options,
            )
            if aperio and level == 0:
                file.write(
                    paint(60, 80),
                    photometric="rgb",
                    description="Aperio\n80x60 of it",
                    metadata=None,
                )
    return path


def encode_jpeg(tile):
    return simplejpeg.encode_jpeg(tile, 90, "RGB", "420")


@pytest.fixture(scope="session")
def make_tiled(tmp_path_factory):
    """Write a slide of a kind once; later calls give the same file."""
    folder = tmp_path_factory.mktemp("tiled")
    made = {}

    def make(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in made:
            name = f"{len(made)}{'.svs' if kind.startswith('svs') else '.tif'}"
            made[key] = write_tiled(folder / name, kind, **options)
        return made[key]

    return make


@pytest.fixture
def make_source(tmp_path):
    """Make a source of bytes, with some before them as a header would be."""

    def make(*parts):
        path = tmp_path / "a.dcm"
        path.write_bytes(b"".join([b"header", *parts]))
        return LocalFile(path)

    return make
