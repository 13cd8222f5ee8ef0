"""Painted pixels, and every way in which slides pack them."""

import cv2
import imagecodecs
import numpy as np
import simplejpeg


def paint(height, width, seed=0):
    """Smooth colours with detail, so that every codec has something to do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-8, 9, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def shrink(image):
    """Shrink by 4, by area."""
    size = (image.shape[1] // 4, image.shape[0] // 4)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def cut_tiles(image, side, fill=255):
    """Cut an image into padded tiles, row by row."""
    tiles = []
    for y in range(0, image.shape[0], side):
        for x in range(0, image.shape[1], side):
            tile = np.full((side, side, 3), fill, np.uint8)
            part = image[y : y + side, x : x + side]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(tile)
    return tiles


def swap_ycbcr(tile):
    swapped = cv2.cvtColor(tile, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    return np.ascontiguousarray(swapped)


def encode_jpeg(tile):
    return simplejpeg.encode_jpeg(tile, 90, "RGB", "420")


def encode_rgb_jpeg(tile):
    """Encode RGB components as they are, without the marker that says so."""
    data = imagecodecs.jpeg8_encode(
        tile, level=90, colorspace="RGB", outcolorspace="RGB"
    )
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 16 :]


def encode_grey_jpeg(tile):
    return simplejpeg.encode_jpeg(tile[..., 1:2].copy(), 90, "GRAY", "Gray")


def encode_j2k(tile, *, mct=True, reversible=True):
    level = None if reversible else 60
    return imagecodecs.jpeg2k_encode(
        tile, level=level, codecformat="j2k", mct=mct, reversible=reversible
    )


def encode_ycbcr_j2k(tile):
    """Encode as Aperio's compression 33003 does: YCbCr under no transform."""
    return encode_j2k(swap_ycbcr(tile), mct=False)
