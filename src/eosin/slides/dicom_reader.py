"""DICOM whole slide images read natively, from one file or many.

A slide is all files of one series: each level is an image of its own, and a large
one may be spread over several files (a concatenation). Of several focal planes or
optical paths the first is taken, which the properties say.

Source: DICOM PS3.3, sections A.32.8, C.7.6.16.1 and C.7.6.17.3.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError
from eosin.slides.bounds import MOST_PICTURE_PIXELS
from eosin.slides.byte_sources import ByteSource, LocalFile
from eosin.slides.dicom_codecs import find_codec
from eosin.slides.dicom_frames import Element, find_elements, find_frames, unwrap
from eosin.slides.dicom_header import (
    MAX_FRAMES,
    PLAIN_SYNTAX,
    DICOMHeader,
    find_flavour,
    find_series,
    read_header,
)
from eosin.slides.dicom_meaning import (
    PATH,
    PLANE,
    check_grey,
    iter_cautions,
    resolve_spacing,
)
from eosin.slides.dicom_positions import find_cells, read_places
from eosin.slides.level_shapes import fit_level, has_shape
from eosin.slides.tile_codecs import Pixels
from eosin.slides.tiled_reader import TiledSlide, TileGrid, TileIndex, check_grid

# What OpenSlide calls the images beside the pyramid.
_ASSOCIATED = {"LABEL": "label", "OVERVIEW": "macro", "THUMBNAIL": "thumbnail"}

# The property that says which of them cannot be read, and why.
LEFT_OUT = "eosin.left-out"

# Sides of a level may differ by this from level 0's: rounding, and padding.
_SAME_SHAPE = 0.02

# Tissue fills more than a thousandth of a slide; a damaged size is refused rather
# than read as a vast white.
_LEAST_CELLS = 10_000
_MOST_HOLES = 1000

# What the files of one image have in common.
_COMMON = attrgetter(
    *("width_px", "height_px", "tile_width_px", "tile_height_px"),
    *("syntax", "photometric", "n_samples", "is_full"),
)

Parts = tuple[DICOMHeader, ...]


@dataclass(frozen=True)
class DICOMImage:
    """The tiles and files of one image, a level or one beside the pyramid.

    Of `n_planes` frames for one place (focal planes, optical paths) the first is
    taken; its file has `n_paths` optical paths.
    """

    grid: TileGrid
    sources: tuple[ByteSource, ...]
    n_planes: int
    n_paths: int


class _DICOMTiles(TiledSlide):
    """Grids of tiles that lie in items."""

    reader = "native"

    def read_native(self, level: int, column: int, row: int) -> bytes:
        data = super().read_native(level, column, row)
        if not data or not self.grids[level].is_wrapped:
            return data
        try:
            return unwrap(data)
        except ValueError as error:
            raise self._damaged(level, column, row, str(error)) from error


class DICOMSlide(_DICOMTiles):
    """A DICOM slide, read from all files of its series.

    `path` is one of the files, whose folder is searched for the others; or a folder
    that holds the files of one slide.
    """

    def __init__(self, path: str | Path, *, mpp: float | None = None) -> None:
        super().__init__(Path(path), read_dicom_index(Path(path), mpp))

    def _read_associated(self, name: str) -> Pixels:
        # It is made of tiles, like a level.
        image = read_image(self._associated[name])
        index = TileIndex(grids=(image.grid,), sources=image.sources, vendor="dicom")
        with _DICOMTiles(self.path, index) as picture:
            width, height = picture.dimensions
            if width * height > MOST_PICTURE_PIXELS:
                raise ValueError(f"it would have {width} x {height} px")
            return picture.read(0, 0, width, height)


def read_dicom_index(path: Path, mpp: float | None) -> TileIndex:
    """Read the headers of a DICOM slide, and no pixels.

    The associated images are headers of their files. The property `LEFT_OUT` names
    those that cannot be read.
    """
    left_out: list[str] = []
    by_uid: dict[str, DICOMHeader] = {}
    for header in _read_series(path, left_out):
        # Copies of a file count once.
        by_uid.setdefault(header.instance_uid, header)
    headers = list(by_uid.values())
    volumes = _group(header for header in headers if header.flavour == "VOLUME")
    if not volumes:
        flavours = sorted({header.flavour for header in headers})
        raise SlideError(
            f"{path.name}: a slide needs a file whose ImageType says VOLUME, its "
            f"series has only {', '.join(flavours)}; put the others beside it"
        )
    pyramid, chosen = _choose_pyramid(
        path.name, volumes, "" if path.is_dir() else headers[0].pyramid_uid
    )
    levels: list[DICOMImage] = []
    sources: list[ByteSource] = []
    first = pyramid[0][0]
    full, cautions = (first.width_px, first.height_px), []
    for parts in pyramid:
        image = read_image(parts, len(sources))
        sources += image.sources
        grid, size = image.grid, (image.grid.width_px, image.grid.height_px)
        fitting = fit_level(full, size, (grid.tile_width_px, grid.tile_height_px))
        if fitting is not None:
            width, height = fitting
            image = replace(image, grid=replace(grid, width_px=width, height_px=height))
        elif not has_shape(full, size):
            cautions.append(
                "a level of {} x {} px has not quite the shape of the slide ({} x {} "
                "px), so that places on it are a little off".format(*size, *full)
            )
        levels.append(image)
    properties = {**first.properties, **chosen}
    if levels[0].n_planes > 1:
        properties[PLANE] = f"1 of {levels[0].n_planes}"
    check_grey(first, levels[0].n_planes, levels[0].n_paths, properties)
    associated = _find_associated(headers, left_out)
    if left_out:
        properties[LEFT_OUT] = "; ".join(left_out)
    return TileIndex(
        grids=[level.grid for level in levels],
        sources=sources,
        vendor="dicom",
        resolution=resolve_spacing([parts[0] for parts in pyramid], mpp),
        properties=properties,
        associated=associated,
        cautions=(*cautions, *iter_cautions(first, properties)),
    )


def read_image(parts: Parts, n_before: int = 0) -> DICOMImage:
    """Find the tiles of one image, whose grid counts its files from `n_before` on."""
    first = parts[0]
    rows, columns = _count_cells(parts)
    sources = tuple(LocalFile(part.path) for part in parts)
    elements = [
        find_elements(source, part.end)
        for source, part in zip(sources, parts, strict=True)
    ]
    frames = [
        find_frames(source, each, part.n_frames, _count_plain_bytes(part))
        for source, each, part in zip(sources, elements, parts, strict=True)
    ]
    cells, n_planes, n_paths = _place(parts, sources, elements, (rows, columns))
    places, chosen = np.unique(cells, return_index=True)
    # Frames of another optical path have no place.
    chosen, places = chosen[places >= 0], places[places >= 0]
    offsets, byte_counts, numbers = np.zeros((3, rows * columns), np.int64)
    offsets[places] = np.concatenate([each.offsets for each in frames])[chosen]
    byte_counts[places] = np.concatenate([each.byte_counts for each in frames])[chosen]
    files = np.repeat(np.arange(len(parts)), [part.n_frames for part in parts])
    numbers[places] = files[chosen] + n_before
    grid = TileGrid(
        width_px=first.width_px,
        height_px=first.height_px,
        tile_width_px=first.tile_width_px,
        tile_height_px=first.tile_height_px,
        offsets=offsets.reshape(rows, columns),
        byte_counts=byte_counts.reshape(rows, columns),
        codec=find_codec(first, sources[0], frames[0]),
        sources=numbers.reshape(rows, columns),
        is_wrapped=frames[0].is_wrapped,
    )
    check_grid(first.path.name, grid)
    return DICOMImage(grid, sources, n_planes, n_paths)


def _find_associated(
    headers: list[DICOMHeader], left_out: list[str]
) -> dict[str, Parts]:
    """Find the images beside the pyramid; those that are damaged are left out."""
    found: dict[str, Parts] = {}
    for flavour, name in _ASSOCIATED.items():
        try:
            images = _group(header for header in headers if header.flavour == flavour)
        except SlideError as error:
            left_out.append(f"{name} ({error})")
            continue
        if images:
            found[name] = images[0]
    return found


def _read_series(path: Path, left_out: list[str]) -> list[DICOMHeader]:
    """Read the headers of all files of a slide, first the one that was named."""
    if not path.is_dir():
        first = read_header(path)
        found = [
            beside
            for beside in sorted(path.parent.iterdir())
            if beside.name != path.name and find_series(beside) == first.series_uid
        ]
        return [first, *_read_headers(found, left_out)]
    series = {beside: find_series(beside) for beside in sorted(path.iterdir())}
    names = {name for name in series.values() if name}
    if len(names) != 1:
        raise SlideError(
            f"{path.name}: a folder must hold the DICOM files of one slide, this one "
            f"holds those of {len(names)}; name one file of the slide instead"
        )
    return list(_read_headers([p for p, name in series.items() if name], left_out))


def _read_headers(paths: Iterable[Path], left_out: list[str]) -> Iterator[DICOMHeader]:
    """Read headers; one that is damaged counts where it may be of the pyramid."""
    for path in paths:
        try:
            yield read_header(path)
        except SlideError as error:
            name = _ASSOCIATED.get(find_flavour(path))
            if name is None:
                raise
            left_out.append(f"{name} ({error})")


def _group(headers: Iterable[DICOMHeader]) -> list[Parts]:
    """Bring together the files of each image, in their order."""
    images: dict[str, list[DICOMHeader]] = {}
    for header in headers:
        whole = header.concatenation
        key = whole.uid if whole else header.instance_uid
        images.setdefault(key, []).append(header)
    return [_order_parts(parts) for parts in images.values()]


def _order_parts(parts: list[DICOMHeader]) -> Parts:
    """Order the files of an image, and check that all are there and alike."""
    stands = {part.concatenation.number: part for part in parts if part.concatenation}
    if not stands:
        return tuple(parts)
    ordered = tuple(stands[number] for number in sorted(stands))
    first = ordered[0]
    known = [part.concatenation.n_files for part in ordered if part.concatenation]
    needed = max((number for number in known if number), default=max(stands))
    missing = [str(i) for i in range(1, min(needed, 1000) + 1) if i not in stands]
    if missing or len(ordered) != len(parts) or needed != len(ordered):
        raise SlideError(
            f"{first.path.name}: its image is spread over {needed} files, and "
            f"{len(parts)} are there (missing: {', '.join(missing[:5]) or 'none'}); "
            "put all of them, once, into the same folder"
        )
    at = 0
    for part in ordered:
        start = part.concatenation.first_frame if part.concatenation else None
        if _COMMON(part) != _COMMON(first) or start not in (None, at):
            raise SlideError(
                f"{part.path.name}: must go on where the file before it in its "
                f"concatenation ends (frame {at}), and it differs; it is damaged"
            )
        at += part.n_frames
    return ordered


def _choose_pyramid(
    name: str, volumes: list[Parts], pyramid_uid: str
) -> tuple[list[Parts], Mapping[str, str]]:
    """Choose the levels of one pyramid, finest first, and say what was chosen."""
    chosen = {}
    if _has_twins(volumes) and any(v[0].pyramid_uid == pyramid_uid for v in volumes):
        volumes = [v for v in volumes if v[0].pyramid_uid == pyramid_uid]
    paths = sorted({volume[0].optical_path for volume in volumes})
    if _has_twins(volumes) and len(paths) > 1:
        volumes = [v for v in volumes if v[0].optical_path == paths[0]]
        chosen[PATH] = f"{paths[0]} of {', '.join(paths)}"
    if _has_twins(volumes):
        raise SlideError(
            f"{name}: levels of a slide must differ in size, its series has "
            "several images of one; put the files of one image into a folder of their "
            "own"
        )
    volumes = sorted(volumes, key=lambda volume: -volume[0].width_px)
    finest = volumes[0][0]
    for volume in volumes:
        level = volume[0]
        downsample = finest.width_px / level.width_px
        height_px = finest.height_px / downsample
        if abs(level.height_px - height_px) > 2 + _SAME_SHAPE * height_px:
            raise SlideError(
                f"{level.path.name}: levels of a slide must have one shape, this is "
                f"{level.width_px} x {level.height_px} px, the finest is "
                f"{finest.width_px} x {finest.height_px}; put the files of one image "
                "into a folder of their own"
            )
    return volumes, chosen


def _has_twins(volumes: list[Parts]) -> bool:
    sizes = {(volume[0].width_px, volume[0].height_px) for volume in volumes}
    return len(sizes) < len(volumes)


def _count_cells(parts: Parts) -> tuple[int, int]:
    """Count rows and columns of tiles."""
    header, n_frames = parts[0], sum(part.n_frames for part in parts)
    rows = -(-header.height_px // header.tile_height_px)
    columns = -(-header.width_px // header.tile_width_px)
    most = min(MAX_FRAMES, _LEAST_CELLS + _MOST_HOLES * n_frames)
    if rows * columns > most:
        raise SlideError(
            f"{header.path.name}: an image of {n_frames} frames may have {most} tiles, "
            f"this one of {header.width_px} x {header.height_px} px would have "
            f"{rows * columns}; it is damaged"
        )
    return rows, columns


def _count_plain_bytes(header: DICOMHeader) -> int | None:
    """Count the bytes of a frame without compression; None with."""
    if header.syntax != PLAIN_SYNTAX:
        return None
    return header.tile_width_px * header.tile_height_px * header.n_samples


def _place(
    parts: Parts,
    sources: tuple[LocalFile, ...],
    elements: list[Mapping[int, Element]],
    shape: tuple[int, int],
) -> tuple[npt.NDArray[np.int64], int, int]:
    """Find the cell of each frame, counted row by row; -1 where it is left out.

    With it comes how many frames one cell has at most, in the first optical path, and
    how many of these there are.
    """
    name, n_frames = parts[0].path.name, sum(part.n_frames for part in parts)
    n_cells, n_paths = shape[0] * shape[1], max(part.n_paths for part in parts)
    if parts[0].is_full or n_frames == n_cells == 1:
        if n_frames % n_cells:
            raise SlideError(
                f"{name}: {shape[0]} x {shape[1]} tiles are needed, once for each "
                f"focal plane and optical path; there are {n_frames} frames"
            )
        cells = np.arange(n_frames, dtype=np.int64) % n_cells
        return cells, n_frames // n_cells, n_paths
    found, path = [], ""
    depths: list[str] = []
    for part, source, each in zip(parts, sources, elements, strict=True):
        places = read_places(source, each, part.n_frames)
        cells = find_cells(part, places.positions, shape)
        n_paths = max(n_paths, len(set(places.paths)))
        if n_paths > 1 and places.paths:
            path = path or places.paths[0]
            cells[[name != path for name in places.paths]] = -1
        depths += places.depths
        found.append(cells)
    cells = np.concatenate(found)
    n_planes = int(np.bincount(cells[cells >= 0]).max(initial=1))
    if n_planes > 1 and len(depths) == len(cells):
        # One focal plane for all cells, in whatever order they are: the fullest.
        own = np.array(depths)
        counts = Counter(own[cells >= 0].tolist())
        cells[own != max(counts, key=lambda depth: counts[depth])] = -1
    return cells, n_planes, n_paths
