"""Colours that read alike for everybody, on screen and in print."""

import cv2
import numpy as np
import numpy.typing as npt

# Okabe and Ito's colours for the colour-blind: the negative class, then others.
CLASS_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
UNLABELLED_COLOUR = (120, 120, 120)
PREDICTION_COLOUR = (213, 94, 0)
ANNOTATION_COLOUR = (20, 20, 20)
ARTEFACT_COLOUR = (150, 60, 190)


def colourise(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colour values of 0 to 1 by the perceptually uniform map Inferno, reversed.

    Low is pale and high is dark, so that a heatmap stands on white paper.

    Args:
        values: Any shape; NaN becomes white.

    Returns:
        RGB, `(*shape, 3)`, uint8.
    """
    is_known = np.isfinite(values)
    index = np.clip(np.nan_to_num(values) * 255, 0, 255).astype(np.uint8)
    table = _make_table()
    colours = table[255 - index]
    colours[~is_known] = 255
    return np.asarray(colours)


def _make_table() -> npt.NDArray[np.uint8]:
    steps = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(
        cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    )
