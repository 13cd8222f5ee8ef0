"""Opening any slide or image by its path."""

from pathlib import Path

import openslide

from eosin.core import (
    SlideError,
    fingerprint_file,
    hash_object,
    raising,
    require_regular,
)
from eosin.slides.byte_sources import LocalFile, RemoteFile, is_remote
from eosin.slides.dicom_reader import DICOMSlide
from eosin.slides.image_reader import ImageSlide, is_tiff
from eosin.slides.openslide_reader import OpenSlideSlide
from eosin.slides.pack_reader import PackedSlide, split_packed
from eosin.slides.resolution import resolve_mpp
from eosin.slides.slide import Slide
from eosin.slides.tiff_pages import is_ome, read_content
from eosin.slides.tiff_reader import NotTiledError, PlanesError, TIFFSlide

# What OpenSlide calls the files that are read natively.
_NATIVE_VENDORS = {"aperio", "generic-tiff"}
# PNG, JPEG, BMP and WebP under other names.
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF")
_PLAIN_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def open_slide(path: str | Path, *, mpp: float | None = None) -> Slide:
    """Open a whole-slide file or a plain image.

    Tiled TIFF slides (Aperio, generic, OME) and DICOM are read natively; what else
    OpenSlide knows through it; other images (PNG, JPEG, plain TIFF) are decoded into
    memory. `Slide.reader` says which it was.

    Args:
        path: The file, the URL of a tiled TIFF slide (`https://`, `s3://`), or a
            slide of a pack as `name_packed` names it.
        mpp: Micrometres per level-0 pixel, before whatever the file says.

    Raises:
        SlideError: The file is missing, empty, damaged, no file, of no known kind, or
            may not be read.
        MissingExtraError: A URL needs packages that are not installed.
        ValueError: `mpp` is not a plausible resolution.
    """
    # An mpp that is given wrong is the caller's mistake, and not the file's.
    resolve_mpp(given=mpp)
    with raising(SlideError, f"{path}: cannot be opened"):
        if is_remote(path):
            return TIFFSlide(path, mpp=mpp)
        if packed := split_packed(path):
            return PackedSlide(*packed, mpp=mpp)
        return _open_file(Path(path), mpp)


def _open_file(path: Path, mpp: float | None) -> Slide:
    """Open a file of this machine by the reader that suits it."""
    if not path.exists():
        gone = ", as what the link leads to is gone" if path.is_symlink() else ""
        raise SlideError(f"{path}: no such file{gone}")
    require_regular(path)
    if path.is_file() and path.stat().st_size == 0:
        raise SlideError(f"{path.name}: the file is empty (0 bytes); copy it again")
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor == "dicom" or _is_dicom(path):
        return DICOMSlide(path, mpp=mpp)
    is_native = vendor in _NATIVE_VENDORS
    # A converter may leave a maker's tags, by which OpenSlide would know the file.
    if is_native or (is_tiff(path) and (vendor is None or is_ome(path))):
        return _open_tiff(path, mpp, is_known=vendor is not None)
    if vendor is not None:
        return OpenSlideSlide(path, mpp=mpp)
    if path.is_dir() or not _is_image(path):
        raise SlideError(
            f"{path.name}: not a slide that OpenSlide knows, nor an image "
            f"({', '.join(sorted(_PLAIN_SUFFIXES))}); it is damaged, cut short or of "
            "another kind"
        )
    return ImageSlide(path, mpp=mpp)


def _open_tiff(path: Path, mpp: float | None, *, is_known: bool) -> Slide:
    """Open a TIFF tile by tile, by OpenSlide where that knows it, or into memory.

    Whoever reads the pixels, the file's own headers say what it is.
    """
    try:
        return TIFFSlide(path, mpp=mpp)
    except PlanesError:
        return ImageSlide(path, mpp=mpp)
    except NotTiledError as error:
        if not is_known:
            return ImageSlide(path, mpp=mpp)
        reasons = [str(error)]
    try:
        content = read_content(LocalFile(path), path)
        return OpenSlideSlide(path, mpp=mpp, content=content)
    except SlideError as error:
        reasons.append(str(error.__cause__ or error))
    try:
        return ImageSlide(path, mpp=mpp)
    except SlideError as error:
        reasons.append(str(error.__cause__ or error))
        raise SlideError(
            f"{'; '.join(dict.fromkeys(reasons))}; convert it to a pyramidal TIFF "
            "with JPEG or deflate"
        ) from error


def _is_image(path: Path) -> bool:
    """Tell whether a file is called like a plain image, or begins like one."""
    with path.open("rb") as stream:
        start = stream.read(4)
    return path.suffix.lower() in _PLAIN_SUFFIXES or start.startswith(_IMAGE_STARTS)


def _is_dicom(path: Path) -> bool:
    """Tell whether a file starts like DICOM: 128 bytes of anything, then its name."""
    if path.is_dir():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def is_at_hand(path: str | Path) -> bool:
    """Say whether a slide can be looked for: a file that is there, a pack, a URL."""
    if is_remote(path) or split_packed(path) is not None:
        return True
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def fingerprint_slide(path: str | Path) -> str:
    """Return a hash that changes when a slide does.

    Of a file here it is that of `fingerprint_file`; of a file behind a URL, the
    URL's and the size's, as its bytes would have to be fetched.
    """
    if is_remote(path):
        return hash_object({"url": str(path), "size": RemoteFile(str(path)).size})
    packed = split_packed(path)
    place = packed[0] if packed else Path(path)
    with raising(SlideError, f"{path}: cannot be read"):
        own = fingerprint_file(place)
        folder = place.with_suffix("")
        if place.suffix.lower() != ".mrxs" or not folder.is_dir():
            return own
        # Of MIRAX the file is little more than a picture; a folder holds the slide.
        sizes = sorted((file.name, file.stat().st_size) for file in folder.iterdir())
        index = [fingerprint_file(file) for file in sorted(folder.glob("*.ini"))]
        return hash_object([own, sizes, index])


def require_unchanged(path: str | Path, fingerprint: str | None) -> None:
    """Stop where another slide lies under a path than was tiled there.

    A slide that was moved or copied is the same. Of a pack nothing can be another,
    since it holds the pixels that were tiled.

    Args:
        path: As for `open_slide`.
        fingerprint: What `fingerprint_slide` gave of it when it was tiled; None or
            empty where nobody noted it.

    Raises:
        SlideError: It is another slide, or cannot be read.
    """
    if not fingerprint or split_packed(path) is not None:
        return
    if fingerprint_slide(path) != fingerprint:
        raise SlideError(
            f"{path}: was replaced by another file after its tiles were cut, so that "
            "places and labels are those of another slide; tile again, or put the "
            "slide back"
        )
