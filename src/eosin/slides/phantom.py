"""Made slides: H&E-like pictures whose tumour, tissue and faults are known.

They prove that code works. They say nothing about how well a model does on
tissue, and every report that rests on them must say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from eosin.slides.pyramid_writing import write_pyramid

Artefact = Literal["blur", "pen", "fold", "bubble"]

# Optical density of the two stains per unit of dye in red, green and blue
# (Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23:291-299).
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
_EOSIN = np.array([0.07, 0.99, 0.11], np.float32)

# Gain of red, green and blue and the strength of both stains, by scanner.
_SCANNERS = {
    "S1": ((1.00, 1.00, 1.00), 1.00, 1.00),
    "S2": ((0.98, 0.96, 1.00), 1.12, 0.90),
    "S3": ((1.00, 0.98, 0.95), 0.90, 1.12),
}

_PEN_COLOURS = ((30, 120, 50), (30, 50, 160), (25, 25, 25), (190, 30, 40))


@dataclass(frozen=True)
class Phantom:
    """A made slide with its truth.

    Attributes:
        image: `(height, width, 3)`, RGB, uint8.
        mpp: Micrometres per pixel.
        tissue: True on tissue, `(height, width)`.
        tumour: True on tumour, `(height, width)`; a part of the tissue.
        artefacts: True where each fault was put, by its name.
    """

    image: npt.NDArray[np.uint8]
    mpp: float
    tissue: npt.NDArray[np.bool_]
    tumour: npt.NDArray[np.bool_]
    artefacts: dict[str, npt.NDArray[np.bool_]]

    def tumour_outlines(self) -> list[npt.NDArray[np.int32]]:
        """Return the outer outline of each tumour, `(points, 2)`, level-0 (x, y)."""
        contours, _ = cv2.findContours(
            self.tumour.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        outlines = [cv2.approxPolyDP(contour, 3.0, closed=True) for contour in contours]
        return [
            np.asarray(outline, np.int32).reshape(-1, 2)
            for outline in outlines
            if len(outline) >= 3
        ]

    def write(self, path: Path, *, downsample: int | None = 4) -> None:
        """Write it as a tiled pyramidal TIFF; without `downsample`, of one level."""
        write_pyramid(
            path,
            self.image,
            mpp=self.mpp,
            downsample=downsample,
            description="eosin phantom",
        )


def make_phantom(
    *,
    seed: int,
    size_px: tuple[int, int] = (3072, 2560),
    mpp: float = 0.5,
    has_tumour: bool = True,
    scanner: str = "S1",
    artefacts: Sequence[Artefact] = (),
) -> Phantom:
    """Make one slide.

    Benign tissue is stroma with glands: rings of small, round, even nuclei
    around a pale lumen. Tumour has crowded, larger, uneven and darker nuclei and
    no glands. Colour follows from the two stains by the Beer-Lambert law.

    Args:
        seed: Seed of everything random; the same arguments give the same slide.
        size_px: (width, height).
        mpp: Micrometres per pixel; shapes have the same size in micrometres.
        has_tumour: Whether there is tumour.
        scanner: `S1`, `S2` or `S3`, which differ in colour.
        artefacts: Faults to put on the tissue.

    Raises:
        ValueError: The scanner is unknown or the size is below 256 px.
    """
    if scanner not in _SCANNERS:
        raise ValueError(
            f"scanner must be one of {', '.join(_SCANNERS)}, got {scanner}"
        )
    if min(size_px) < 256:
        raise ValueError(f"a phantom needs 256 px a side or more, got {size_px}")
    rng = np.random.default_rng(seed)
    width, height = size_px
    tissue = _make_blob(rng, width, height, share=0.45, grain=5)
    tumour = np.zeros_like(tissue)
    if has_tumour:
        tumour = tissue & _make_blob(rng, width, height, share=0.30, grain=4)
    haematoxylin, eosin = _stain(rng, tissue, tumour, mpp)
    gains, haematoxylin_gain, eosin_gain = _SCANNERS[scanner]
    # Sections and baths differ from slide to slide, not only between scanners.
    haematoxylin_gain *= rng.normal(1, 0.06)
    eosin_gain *= rng.normal(1, 0.06)
    image = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        density = haematoxylin * (_HAEMATOXYLIN[channel] * haematoxylin_gain)
        density += eosin * (_EOSIN[channel] * eosin_gain)
        light = np.exp(-density) * (244 * gains[channel])
        light += rng.normal(0, 1.5, (height, 1)).astype(np.float32)
        image[..., channel] = np.clip(np.rint(light), 0, 255)
    benign = tissue & ~tumour
    made: dict[str, npt.NDArray[np.bool_]] = {
        kind: _add_artefact(rng, image, benign, kind) for kind in artefacts
    }
    return Phantom(image, mpp, tissue, tumour, made)


def _make_blob(
    rng: np.random.Generator, width: int, height: int, *, share: float, grain: int
) -> npt.NDArray[np.bool_]:
    """Make a smooth random shape that covers about `share` of the picture."""
    coarse = rng.normal(size=(grain, grain)).astype(np.float32)
    fine = rng.normal(size=(grain * 6, grain * 6)).astype(np.float32)
    smooth = _enlarge(coarse, width, height, cv2.INTER_CUBIC)
    smooth = smooth + 0.12 * _enlarge(fine, width, height, cv2.INTER_CUBIC)
    # Shapes keep clear of the border, as sections do of a cover slip's edge.
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)
    edge = np.maximum(np.abs(x)[None, :], np.abs(y)[:, None])
    field = smooth - 6 * np.clip(edge - 0.8, 0, None)
    return np.asarray(field > np.quantile(field[::8, ::8], 1 - share))


def _stain(
    rng: np.random.Generator,
    tissue: npt.NDArray[np.bool_],
    tumour: npt.NDArray[np.bool_],
    mpp: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Lay down both stains; returns optical densities, `(height, width)`."""
    height, width = tissue.shape
    eosin = np.full((height, width), 0.42, np.float32)
    for grain_um, strength in ((60.0, 0.10), (8.0, 0.10), (1.5, 0.08)):
        eosin += strength * _make_noise(rng, width, height, grain_um / mpp)
    eosin[tumour] *= 0.75
    nuclei = np.zeros((height, width), np.uint8)
    glands = _draw_glands(rng, nuclei, eosin, tissue & ~tumour, mpp)
    stroma = tissue & ~tumour & ~glands
    _draw_nuclei(rng, nuclei, stroma, mpp, per_mm2=1500, radius_um=(1.5, 3.4), dark=150)
    _draw_nuclei(rng, nuclei, tumour, mpp, per_mm2=4200, radius_um=(3.4, 5.2), dark=205)
    haematoxylin = cv2.GaussianBlur(nuclei, (0, 0), max(0.6, 0.35 / mpp))
    haematoxylin = haematoxylin.astype(np.float32) * (1.5 / 255)
    haematoxylin *= 1 + 0.25 * _make_noise(rng, width, height, 1.2 / mpp)
    haematoxylin += 0.08
    soft = cv2.GaussianBlur(tissue.astype(np.float32), (0, 0), max(0.8, 2 / mpp))
    return (
        np.asarray(np.clip(haematoxylin, 0, None) * soft, np.float32),
        np.asarray(np.clip(eosin, 0, None) * soft, np.float32),
    )


def _make_noise(
    rng: np.random.Generator, width: int, height: int, grain_px: float
) -> npt.NDArray[np.float32]:
    """Make smooth noise of unit size with bumps of about `grain_px`."""
    grain_px = max(grain_px, 1.0)
    size = (max(2, int(width / grain_px)), max(2, int(height / grain_px)))
    coarse = rng.normal(size=size[::-1]).astype(np.float32)
    return _enlarge(coarse, width, height, cv2.INTER_LINEAR)


def _enlarge(
    coarse: npt.NDArray[np.float32], width: int, height: int, interpolation: int
) -> npt.NDArray[np.float32]:
    fine = cv2.resize(coarse, (width, height), interpolation=interpolation)
    return np.asarray(fine, np.float32)


def _draw_glands(
    rng: np.random.Generator,
    nuclei: npt.NDArray[np.uint8],
    eosin: npt.NDArray[np.float32],
    where: npt.NDArray[np.bool_],
    mpp: float,
) -> npt.NDArray[np.bool_]:
    """Draw glands: a pale lumen, a rim of cytoplasm, a ring of even nuclei."""
    covered = np.zeros(where.shape, np.uint8)
    n_glands = int(where.sum() * mpp**2 / 1e6 * 110)
    for x, y in _choose_places(rng, where, n_glands):
        radius = rng.uniform(22, 48) / mpp
        axes = np.array([radius, radius * rng.uniform(0.6, 1.0)])
        angle = rng.uniform(0, 180)
        reach = int(radius * 1.3)
        window = np.s_[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
        if covered[window].any() or not where[window].all():
            continue
        centre = (int(x), int(y))
        outer = tuple(int(v) for v in axes * 1.12)
        cv2.ellipse(covered, centre, outer, angle, 0, 360, 1, -1)
        cv2.ellipse(eosin, centre, outer, angle, 0, 360, 0.34, -1)
        inner = tuple(max(1, int(v)) for v in axes * 0.62)
        cv2.ellipse(eosin, centre, inner, angle, 0, 360, 0.04, -1)
        n_nuclei = int(2 * np.pi * axes.mean() / (6.5 / mpp))
        turns = np.linspace(0, 2 * np.pi, n_nuclei, endpoint=False)
        points = np.stack([axes[0] * np.cos(turns), axes[1] * np.sin(turns)], axis=1)
        rotation = np.deg2rad(angle)
        cosine, sine = np.cos(rotation), np.sin(rotation)
        points = points @ np.array([[cosine, sine], [-sine, cosine]])
        for offset in points + rng.normal(0, 0.4 / mpp, points.shape):
            place = (int(x + offset[0]), int(y + offset[1]))
            cv2.circle(nuclei, place, max(1, round(2.6 / mpp)), 165, -1)
    return np.asarray(covered > 0)


def _draw_nuclei(
    rng: np.random.Generator,
    nuclei: npt.NDArray[np.uint8],
    where: npt.NDArray[np.bool_],
    mpp: float,
    *,
    per_mm2: float,
    radius_um: tuple[float, float],
    dark: int,
) -> None:
    """Draw scattered elliptic nuclei onto `nuclei`."""
    n_nuclei = int(where.sum() * mpp**2 / 1e6 * per_mm2)
    places = _choose_places(rng, where, n_nuclei)
    radii = rng.uniform(*radius_um, n_nuclei) / mpp
    shapes = rng.uniform(0.55, 1.0, n_nuclei)
    angles = rng.uniform(0, 180, n_nuclei)
    shades = np.clip(rng.normal(dark, 25, n_nuclei), 60, 255)
    for (x, y), radius, shape, angle, shade in zip(
        places, radii, shapes, angles, shades, strict=True
    ):
        axes = (max(1, round(radius)), max(1, round(radius * shape)))
        cv2.ellipse(
            nuclei, (int(x), int(y)), axes, float(angle), 0, 360, int(shade), -1
        )


def _choose_places(
    rng: np.random.Generator, where: npt.NDArray[np.bool_], n: int
) -> npt.NDArray[np.int64]:
    """Choose `n` random (x, y) inside a mask; none where it is empty."""
    inside = np.flatnonzero(where)
    if n == 0 or len(inside) == 0:
        return np.empty((0, 2), np.int64)
    chosen = rng.choice(inside, n)
    return np.stack([chosen % where.shape[1], chosen // where.shape[1]], axis=1)


def _add_artefact(
    rng: np.random.Generator,
    image: npt.NDArray[np.uint8],
    where: npt.NDArray[np.bool_],
    kind: Artefact,
) -> npt.NDArray[np.bool_]:
    """Put one fault on the picture, in place; returns where."""
    height, width = image.shape[:2]
    places = _choose_places(rng, where, 1)
    x, y = places[0] if len(places) else (width // 2, height // 2)
    centre, radius = (int(x), int(y)), min(width, height) // 7
    mask = np.zeros((height, width), np.uint8)
    if kind == "pen":
        points = np.cumsum(rng.normal(0, radius / 3, (12, 2)), axis=0) + centre
        thickness = max(6, radius // 5)
        line = [points.astype(np.int32)]
        cv2.polylines(mask, line, isClosed=False, color=1, thickness=thickness)
        image[mask > 0] = _PEN_COLOURS[rng.integers(len(_PEN_COLOURS))]
    elif kind == "fold":
        end = (centre[0] + radius * 2, centre[1] + radius // 2)
        cv2.line(mask, centre, end, 1, max(4, radius // 6))
        folded = (image.astype(np.float32) / 255) ** 2 * 255
        image[mask > 0] = folded[mask > 0].astype(np.uint8)
    elif kind == "blur":
        cv2.circle(mask, centre, radius, 1, -1)
        blurred = cv2.GaussianBlur(image, (0, 0), 6)
        image[mask > 0] = blurred[mask > 0]
    else:
        cv2.circle(mask, centre, radius, 1, -1)
        pale = 255 - (255 - image.astype(np.float32)) * 0.35
        image[mask > 0] = pale[mask > 0].astype(np.uint8)
        cv2.circle(image, centre, radius, (90, 80, 90), max(2, radius // 25))
    return np.asarray(mask > 0)
