"""Pixels of made patches, from where their nuclei lie."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def draw_nucleus(
    nuclei: NDArray[np.float32],
    centre: NDArray[Any],
    axes: tuple[float, float],
    angle: float,
    depth: float,
) -> None:
    """Draw an ellipse onto `nuclei`, which are 0 to 1."""
    shape = np.zeros_like(nuclei)
    box = (tuple(centre.tolist()), axes, angle)
    cv2.ellipse(shape, box, 1.0, -1, cv2.LINE_AA)
    np.maximum(nuclei, shape * depth, out=nuclei)


def stain_nuclei(
    nuclei: NDArray[np.float32], stain: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Lay them on eosin, by the optical density of both stains."""
    nuclei = cv2.GaussianBlur(nuclei, (0, 0), 0.7)
    noise = cv2.GaussianBlur(rng.normal(size=nuclei.shape), (0, 0), 3) * 1.5
    eosin = np.clip(0.35 + 0.3 * noise, 0, 1).astype(np.float32)
    vectors = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    density = (stain * np.stack([nuclei, eosin], -1)) @ vectors
    pixels = 245 * np.exp(-density) + rng.normal(0, 4, density.shape)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)
