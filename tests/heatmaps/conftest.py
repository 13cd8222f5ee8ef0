import numpy as np
import pytest

from eosin.heatmaps import SlidePicture


@pytest.fixture
def picture():
    """A grey slide of 8000 x 4000 px at 0.5 mpp, ten level-0 pixels to one."""
    image = np.full((400, 800, 3), 230, np.uint8)
    return SlidePicture(image, (8000, 4000), 0.5, "S 01")
