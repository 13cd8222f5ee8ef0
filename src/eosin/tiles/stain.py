"""Stain: how much of it tiles hold, and random changes for training."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from eosin.core import ConfigError

# Optical density of haematoxylin and eosin in red, green and blue (Ruifrok and
# Johnston 2001, Anal. Quant. Cytol. Histol. 23:291-299). What neither explains
# goes along their cross product, so that the three directions span all colours.
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])


def _make_stains() -> npt.NDArray[np.float64]:
    rows = np.stack([_HAEMATOXYLIN, _EOSIN, np.cross(_HAEMATOXYLIN, _EOSIN)])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


_STAINS = _make_stains()
_UNMIX = np.linalg.inv(_STAINS)

# Natural-log optical density of every grey value; 0 counts as 1, as it has none.
_DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255).astype(np.float32)


@dataclass(frozen=True)
class StainJitter:
    """Change the amount of each stain and the brightness, tile by tile.

    Each tile's optical density is split into haematoxylin, eosin and a rest, by
    the Beer-Lambert law. Each part is multiplied by a factor drawn evenly from
    1 - `strength` to 1 + `strength`, and the tile's brightness by one from
    exp(-`strength` / 4) to exp(`strength` / 4). All that is one 3 x 4 matrix.

    Attributes:
        strength: 0 changes nothing; 0.2 is about the spread between
            laboratories; below 1.

    Raises:
        ConfigError: `strength` is below 0, or 1 and above.
    """

    strength: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.strength < 1:
            raise ConfigError(
                f"stain strength must be 0 or more and below 1, got {self.strength:g}"
            )

    def apply(
        self, tiles: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Return changed tiles, `(tiles, height, width, 3)`; those given stay.

        `rng` is drawn from four times per tile, whatever the pixels.
        """
        out = tiles.copy()
        if self.strength == 0:
            return out
        for target, matrix in zip(out, self._draw(len(tiles), rng), strict=True):
            density = cv2.LUT(np.ascontiguousarray(target), _DENSITY)
            changed = cv2.exp(cv2.transform(density, matrix))
            # exp gives the share of light; beyond 255 the conversion saturates.
            target[:] = cv2.convertScaleAbs(changed, alpha=255)
        return out

    def _draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Draw one matrix from density to log light per tile, `(tiles, 3, 4)`."""
        draws = rng.uniform(-self.strength, self.strength, (n, 4))
        # Densities are rows: d' = d @ unmix @ diag(gain) @ stains. OpenCV takes
        # them as columns, hence the transpose.
        mixed = (_UNMIX[None] * (1 + draws[:, None, :3])) @ _STAINS
        matrices = np.empty((n, 3, 4), np.float32)
        matrices[:, :, :3] = -mixed.transpose(0, 2, 1)
        matrices[:, :, 3] = draws[:, 3:] / 4
        return matrices


def measure_density(
    tile: npt.NDArray[np.uint8], tissue: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Measure the mean optical density of a tile's tissue (nowhere means everywhere).

    Returns:
        Red, green and blue, `(3,)`, natural logarithm: 0 is white, 5.5 black.
    """
    density = cv2.LUT(np.ascontiguousarray(tile), _DENSITY)
    mask = tissue.astype(np.uint8) if tissue.any() else None
    return np.array(cv2.mean(density, mask=mask)[:3], np.float32)


def unmix_density(density: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Split optical density, `(tiles, 3)`, into haematoxylin and eosin, `(tiles, 2)`.

    By Beer-Lambert's law, with Ruifrok and Johnston's colours, not estimated from the
    tiles. A mean density gives mean amounts, because the law is linear. Below 0 where
    a colour lies outside what the two can mix.
    """
    return np.asarray((density @ _UNMIX)[:, :2], np.float32)
