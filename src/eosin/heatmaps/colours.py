"""Colours that read alike for everybody, on screen and in print."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]

# Okabe and Ito's colours for the colour-blind: the negative class, then others.
CLASS_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
UNLABELLED_COLOUR: Colour = (120, 120, 120)
PREDICTION_COLOUR: Colour = (213, 94, 0)
ANNOTATION_COLOUR: Colour = (20, 20, 20)
# Neither stain nor class looks like these.
ARTEFACT_COLOURS: tuple[Colour, ...] = ((0, 205, 225), (250, 225, 40), (60, 60, 60))
TISSUE_COLOUR: Colour = (0, 158, 115)

# How much of the heatmap shows at 0 and at 1. The tissue must stay readable where
# the model is surest, for that is where one looks.
_FAINTEST = 0.10
_STRONGEST = 0.55


def colourise(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Colour values of 0 to 1 by the perceptually uniform map Viridis.

    Its blue, green and yellow do not occur in H&E, unlike the reds of most maps. NaN
    becomes white. Gives RGB, `(*shape, 3)`, uint8.
    """
    index = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    colours = _make_table()[index]
    colours[~np.isfinite(values)] = 255
    return np.asarray(colours)


def find_strength(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return how strongly each value shows on a picture, 0 to 1; 0 where NaN."""
    known = np.clip(np.nan_to_num(values), 0, 1)
    strength = _FAINTEST + (_STRONGEST - _FAINTEST) * known
    return np.where(np.isfinite(values), strength, 0).astype(np.float32)


def _make_table() -> npt.NDArray[np.uint8]:
    steps = np.arange(256, dtype=np.uint8)[:, None]
    blue_first = cv2.applyColorMap(steps, cv2.COLORMAP_VIRIDIS)
    return np.ascontiguousarray(blue_first[:, 0, ::-1])
