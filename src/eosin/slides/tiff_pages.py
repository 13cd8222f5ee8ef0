"""What a TIFF holds: which image is the slide, its levels, and what is said of it.

It is parsed once from the file's directories, whoever reads the pixels afterwards:
tile by tile, through OpenSlide, or decoded into memory.

Sources: TIFF 6.0, the Aperio SVS conventions as OpenSlide documents them
(openslide.org/formats/aperio), and the OME-TIFF specification (SubIFD pyramids).
"""

import contextlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eosin.core import SlideError, raising
from eosin.slides.byte_sources import ByteSource
from eosin.slides.level_shapes import Size, choose_levels, fit_level
from eosin.slides.tiff_directories import open_tiff
from eosin.slides.tiff_metadata import (
    OMEImage,
    read_imagej_mpp,
    read_ome_images,
    read_pair_resolution,
    read_pairs,
    read_tag_mpp,
)

# What is beside a slide, by the name that a header gives it.
_BESIDE = {"label", "macro", "thumbnail", "overview", "barcode", "preview"}
# Aperio's NewSubfileType of a macro image.
_MACRO_TYPE = 9
_NDPI_TAG = 65420
# A damaged list of SubIFDs must not cost a parse of millions.
_MOST_SUBIFDS = 64
_XML_ROOT = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|\s)*<([\w:.-]+)([^>]*)>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TIFFContent:
    """What a TIFF says, before any pixel is read.

    Attributes:
        vendor: Who wrote it: `aperio`, another maker in Aperio's form, `ome-tiff`, or
            `generic-tiff`.
        pages: The directory of each level, finest first, as tifffile gives it.
        sizes: (width, height) of each level, without padding.
        associated: Number of the directory of each image beside the slide.
        mpp: What vendor, tags and objective say, as `resolve_mpp` takes it.
        properties: What the header says, as text.
        cautions: Which images are left out, and why.
        ome: What an OME header says of the slide.
        maker: Whose own kind of TIFF it is, which only OpenSlide reads; or empty.
        n_planes: How many images of one size make up the slide.
    """

    vendor: str
    pages: Sequence[Any]
    sizes: Sequence[Size]
    associated: Mapping[str, int]
    mpp: Mapping[str, Any]
    properties: Mapping[str, str]
    cautions: tuple[str, ...]
    ome: OMEImage | None
    maker: str
    n_planes: int


def read_content(source: ByteSource, path: Any) -> TIFFContent:
    """Read the directories of a TIFF, which `tifffile` opens as `path`."""
    failure = f"{source.name}: its TIFF headers cannot be read"
    with (
        raising(SlideError, failure, remedy="the file is damaged or cut short"),
        open_tiff(path) as file,
    ):
        return parse_content(file)


def is_ome(path: Any) -> bool:
    """Tell whether a file is an OME-TIFF, whatever else it says it is."""
    with (
        contextlib.suppress(SlideError),
        raising(SlideError, "no TIFF"),
        open_tiff(path) as file,
    ):
        return bool(file.pages.first.is_ome)
    return False


def parse_content(file: Any) -> TIFFContent:
    """Find the slide among the directories of an open `tifffile.TiffFile`."""
    # Kept, so that what was parsed here is not parsed again for the pixels.
    file.pages.cache = True
    pages = list(file.pages)
    first = pages[0].description or ""
    images = read_ome_images(first) if pages[0].is_ome else ()
    slides = {image.size for image in images if not _is_beside(image.name)}
    names = {i.size: i.name for i in images if slides and i.size not in slides}
    known = {id(page): _name_page(page, names) for page in pages}
    if first.startswith("Aperio") and pages[0].is_tiled:
        # Behind the slide comes its thumbnail, in strips.
        known |= {id(page): "thumbnail" for page in pages[1:2] if not page.is_tiled}
    home, page = _find_slide(pages, known)
    description = page.description or first
    matching = [image for image in images if image.size == _measure(page)]
    ome = next(iter(matching or images), None)
    vendor, pairs = _find_vendor(description, has_images=bool(images))
    n_planes = _count_planes(page, pages, ome)
    others = _list_others(home, page, pages, known, is_ome=bool(images))
    chosen, cautions = _choose(page, others if n_planes == 1 else [])
    if page is not pages[0] and not known[id(pages[0])]:
        cautions += (f"the first image ({_say(pages[0])}) is not the largest",)
    left = [i.name or "unnamed" for i in images if i is not ome and i.size not in names]
    if left:
        cautions += (f"other images are left out: {', '.join(left)}",)
    if bool(matching) != pages[0].is_ome:
        cautions += (f"its OME header does not describe its image of {_say(page)}",)
    if is_mistagged(page):
        cautions += ("three samples that are tagged as grey are taken for RGB",)
    maker = "" if images else _find_maker(pages[0])
    if maker:
        cautions += (f"{maker}'s own TIFF, of which OpenSlide knows no more than that",)
    return TIFFContent(
        vendor=vendor,
        pages=list(chosen),
        sizes=list(chosen.values()),
        associated=_name_associated(pages, known, home),
        mpp=_find_mpp(page, description, pairs, ome),
        properties={
            "openslide.vendor": vendor,
            "tiff.ImageDescription": description,
            **{f"{vendor}.{key}": value for key, value in pairs.items()},
        },
        cautions=cautions,
        ome=ome,
        maker=maker,
        n_planes=n_planes,
    )


def _measure(page: Any) -> Size:
    return int(page.imagewidth), int(page.imagelength)


def _say(page: Any) -> str:
    return "{} x {} px".format(*_measure(page))


def is_mistagged(page: Any) -> bool:
    """Tell whether a directory has three samples together that it calls grey."""
    colour = str(getattr(page.photometric, "name", page.photometric))
    return colour == "MINISBLACK" and page.samplesperpixel == 3


def _is_beside(name: str) -> bool:
    return bool({*re.split(r"[\W_]+", name.lower())} & _BESIDE)


def _name_page(page: Any, names: Mapping[Size, str]) -> str:
    """Name an image that is beside the slide; empty for the slide and its levels."""
    text = (page.description or "").split("|")[0].lower()
    words = [line.split()[0] for line in text.splitlines()[:2] if line.strip()]
    words += re.findall(r"([a-z]+)\s+\d+\s*x\s*\d+", text)
    found = [word for word in words if word.strip(":,;") in _BESIDE]
    macro = "macro" if page.subfiletype == _MACRO_TYPE else ""
    return (found[0].strip(":,;") if found else "") or names.get(_measure(page), macro)


def _list_family(page: Any) -> list[Any]:
    """List a directory and its SubIFDs."""
    return [page, *itertools.islice(page.pages or (), _MOST_SUBIFDS)]


def _find_slide(pages: Sequence[Any], known: Mapping[int, str]) -> tuple[Any, Any]:
    """Find the largest image that is not known to be beside the slide.

    Of two alike it is the first. Returns the directory in the file's chain, and the
    image, which is that or one of its SubIFDs.
    """
    homes = [page for page in pages if not known[id(page)] and not page.is_mask]
    families = [(home, page) for home in homes or pages for page in _list_family(home)]
    areas = [int(page.imagewidth) * int(page.imagelength) for _, page in families]
    return families[areas.index(max(areas))]


def _count_planes(page: Any, pages: Sequence[Any], ome: OMEImage | None) -> int:
    """Count the images of one size that only together have all colours, or a depth."""
    samples = max(1, int(page.samplesperpixel))
    if ome is not None:
        return max(1, ome.n_samples // samples)
    alike = [
        other
        for other in pages
        if _measure(other) == _measure(page) and other.samplesperpixel == samples
    ]
    return max(1, len(alike)) if samples == 1 else 1


def _list_others(
    home: Any,
    page: Any,
    pages: Sequence[Any],
    known: Mapping[int, str],
    *,
    is_ome: bool,
) -> list[Any]:
    """List what may be the slide's levels: its family, and what stands beside it.

    In the chain a level is tiled as the slide is. Not all writers flag it as reduced;
    images of an OME header without a flag are images of their own.
    """
    beside = [
        other
        for other in pages
        if other is not home
        and not known[id(other)]
        and other.is_tiled == page.is_tiled
        and (other.is_reduced or (page.is_tiled and not is_ome))
    ]
    family = [other for other in _list_family(home) if other is not page]
    return [other for other in (*family, *beside) if min(_measure(other)) > 0]


def _choose(
    page: Any, others: Sequence[Any]
) -> tuple[Mapping[Any, Size], tuple[str, ...]]:
    """Choose levels; the slide's directory and theirs, with their sizes."""
    images = [page, *others]
    sizes = [_measure(image) for image in images]

    def fit(number: int) -> Size | None:
        image = images[number]
        tile = (image.tilewidth, image.tilelength) if image.is_tiled else None
        return fit_level(sizes[0], sizes[number], tile)

    chosen, cautions = choose_levels(sizes, fit)
    return {images[number]: size for number, size in chosen.items()}, cautions


def _find_vendor(
    description: str, *, has_images: bool
) -> tuple[str, Mapping[str, str]]:
    """Find the maker of a header in Aperio's form, and what it says."""
    if has_images:
        return "ome-tiff", {}
    pairs = read_pairs(description)
    if description.startswith("Aperio"):
        return "aperio", pairs
    sides, power = read_pair_resolution(pairs)
    if not (any(sides) or power):
        return "generic-tiff", {}
    maker = re.match(r"([A-Za-z][\w-]*)(?!\s*[=:])\b", description)
    return maker[1].lower() if maker else "generic-tiff", pairs


def _find_mpp(
    page: Any, description: str, pairs: Mapping[str, str], ome: OMEImage | None
) -> Mapping[str, Any]:
    """Collect what is said of the resolution, as `resolve_mpp` takes it."""
    vendor, power = read_pair_resolution(pairs)
    if ome is not None:
        vendor, power = ome.mpp, ome.objective_power
    imagej = read_imagej_mpp(page, description)
    tiff = imagej if any(imagej) else read_tag_mpp(page)
    return {"vendor": vendor, "tiff": tiff, "objective_power": power}


def _find_maker(page: Any) -> str:
    """Find whose own kind of TIFF it is (overlapping tiles, several scans in one).

    As OpenSlide does, by what only they write; a header that mentions them is none.
    """
    said = {
        name: str(tag.value)
        for name in ("Software", "Make", "XMP")
        if (tag := page.tags.get(name))
    }
    root = _XML_ROOT.match(page.description or "")
    name, rest = (root[1], root[2]) if root else ("", "")
    if name == "scn" and "leica-microsystems.com/scn" in rest:
        return "Leica"
    if name == "DataObject" and "DPUfsImport" in rest:
        return "Philips"
    if re.search(r"<iScan\b", said.get("XMP", "")):
        return "Ventana"
    if said.get("Software", "").startswith("MedScan"):
        return "Trestle"
    is_hamamatsu = said.get("Make", "").startswith("Hamamatsu")
    return "Hamamatsu" if is_hamamatsu or _NDPI_TAG in page.tags else ""


def _name_associated(
    pages: Sequence[Any], known: Mapping[int, str], home: Any
) -> Mapping[str, int]:
    """Name the images beside the slide as OpenSlide does."""
    names: dict[str, int] = {}
    for index, page in enumerate(pages):
        if known[id(page)] and page is not home:
            names.setdefault(known[id(page)], index)
    return names
