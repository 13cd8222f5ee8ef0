"""Opening any slide or image by its path."""

from pathlib import Path

import openslide

from eosin.core import SlideError
from eosin.slides.image_reader import ImageSlide
from eosin.slides.openslide_reader import OpenSlideSlide
from eosin.slides.slide import Slide

_PLAIN_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def open_slide(path: str | Path, *, mpp: float | None = None) -> Slide:
    """Open a whole-slide file or a plain image.

    Files that OpenSlide knows are read through it; other images (PNG, JPEG,
    plain TIFF, OME-TIFF) are decoded into memory.

    Args:
        path: The file.
        mpp: Micrometres per level-0 pixel, before whatever the file says.

    Raises:
        SlideError: The file is missing, empty, damaged or of no known kind.
        ValueError: `mpp` is not a plausible resolution.
    """
    path = Path(path)
    if not path.exists():
        raise SlideError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise SlideError(f"{path.name}: the file is empty (0 bytes); copy it again")
    try:
        vendor = openslide.OpenSlide.detect_format(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(f"{path.name}: cannot be read ({error})") from error
    if vendor is not None:
        return OpenSlideSlide(path, mpp=mpp)
    if path.is_dir() or path.suffix.lower() not in _PLAIN_SUFFIXES:
        raise SlideError(
            f"{path.name}: not a slide that OpenSlide knows, nor an image "
            f"({', '.join(sorted(_PLAIN_SUFFIXES))}); it is damaged, cut short or of "
            "another kind"
        )
    return ImageSlide(path, mpp=mpp)
