"""Slides of every kind, each written once."""

import numpy as np
import pytest
from tests.slides.dicom_files import write_slide
from tests.slides.tiff_files import write_tiled

from eosin.slides import PackWriter, describe_slide, find_cells, open_slide
from eosin.slides.byte_sources import LocalFile

BOXES = np.array([(0, 0, 256, 256), (300, 200, 256, 256), (640, 440, 256, 256)])


def write_pack(path, slides, boxes=BOXES, tile_px=256):
    """Pack what boxes need of slides, by their ids."""
    opened = {name: open_slide(place) for name, place in slides.items()}
    told = {name: describe_slide(slide) for name, slide in opened.items()}
    with PackWriter(path, told, "origin") as writer:
        for name, slide in opened.items():
            writer.write(name, slide, find_cells(slide, boxes, tile_px))
            slide.close()
    return path


def make_once(write):
    """Write a slide of a kind once; later calls give the same file."""
    made = {}

    def make(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in made:
            made[key] = write(len(made), kind, **options)
        return made[key]

    return make


@pytest.fixture(scope="session")
def make_tiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiled")

    def write(number, kind, **options):
        name = f"{number}{'.svs' if kind.startswith('svs') else '.tif'}"
        return write_tiled(folder / name, kind, **options)

    return make_once(write)


@pytest.fixture(scope="session")
def make_dicom(tmp_path_factory):
    def write(_, kind, **options):
        return write_slide(tmp_path_factory.mktemp("dicom"), kind, **options)

    return make_once(write)


@pytest.fixture
def make_source(tmp_path):
    """Make a source of bytes, with some before them as a header would be."""

    def make(*parts):
        path = tmp_path / "a.dcm"
        path.write_bytes(b"".join([b"header", *parts]))
        return LocalFile(path)

    return make
