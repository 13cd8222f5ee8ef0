import contextlib
import resource

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.core import SlideError
from eosin.slides import open_slide
from eosin.slides.byte_sources import LocalFile
from eosin.slides.tiff_reader import NotTiledError, PlanesError, read_tiff_index


def read(path, mpp=None):
    return read_tiff_index(LocalFile(path), path, mpp)


def test_what_aperio_says_goes_before_the_tags(make_tiled):
    index = read(make_tiled("svs-jpeg"))
    assert index.resolution.source == "vendor"
    assert index.resolution.candidates["objective power"] == 0.5
    assert index.properties["aperio.AppMag"] == "20"
    assert dict(index.associated) == {"thumbnail": 1}
    assert read(make_tiled("svs-jpeg"), 0.3).resolution.source == "given"
    with pytest.raises(ValueError, match="mpp must lie"):
        read(make_tiled("svs-jpeg"), -1)


@pytest.mark.parametrize(
    "description",
    [
        '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"/>',
        '<DataObject ObjectType="DPUfsImport"/>',
    ],
)
def test_a_makers_own_tiff_is_left_to_openslide(tmp_path, description):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((64, 64, 3), np.uint8),
        tile=(16, 16),
        photometric="rgb",
        description=description,
        metadata=None,
    )
    with pytest.raises(NotTiledError, match="maker's own"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, NotTiledError),
        ({"tile": (16, 16), "compression": "lerc"}, NotTiledError),
        ({"tile": (16, 16), "planarconfig": "separate"}, PlanesError),
    ],
)
def test_what_is_not_decoded_tile_by_tile_says_so(tmp_path, options, kind):
    image = np.zeros((64, 64, 3), np.uint8)
    if "planarconfig" in options:
        image = np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", **options)
    with pytest.raises(kind):
        read(tmp_path / "a.tif")


def test_a_tile_that_is_not_listed_is_damage(make_tiled, tmp_path):
    content = bytearray(make_tiled("svs-jpeg").read_bytes())
    with tifffile.TiffFile(make_tiled("svs-jpeg")) as file:
        # Of a directory's entry: two bytes of tag, two of type, four of number.
        at = file.pages[0].tags["TileOffsets"].offset + 4
    content[at : at + 4] = (11).to_bytes(4, "little")
    (tmp_path / "a.svs").write_bytes(content)
    with pytest.raises(SlideError, match=r"3 x 4 native tiles .* lists 11"):
        read(tmp_path / "a.svs")


def read_everything(path):
    with open_slide(path) as slide:
        for level in range(len(slide.levels)):
            slide.read(0, 0, 300, 300, level=level)
        _ = slide.associated_images
        boxes = np.array([(0, 0, 256, 256), (100, 90, 512, 512)])
        out = np.empty((2, 256, 256, 3), np.uint8)
        slide.read_tiles(boxes, out, damaged=np.zeros(2, bool))


def damage(data, content):
    """Overwrite, cut or double some bytes; most often in the headers."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, min(2000, len(content) - 1)))
        elif data.draw(st.booleans()):
            at = data.draw(st.integers(max(0, len(content) - 3000), len(content) - 1))
        else:
            at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(new)] = new
    if data.draw(st.integers(0, 9)) == 0:
        del content[data.draw(st.integers(1, len(content))) :]
    return bytes(content)


FUZZED = ("svs-jpeg", "svs-33003", "lzw", "deflate", "bigtiff")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "n_files"),
    [
        *((kind, 60) for kind in FUZZED[:4]),
        *(pytest.param(kind, 2000, marks=pytest.mark.slow) for kind in FUZZED),
    ],
)
def test_damaged_files_give_slide_errors_only(make_tiled, tmp_path, kind, n_files):
    content = make_tiled(kind, size=(400, 520)).read_bytes()
    path = tmp_path / "damaged.tif"

    # Nothing hangs: the deadline is in milliseconds.
    @settings(max_examples=n_files, deadline=10_000)
    @given(data=st.data())
    def check(data):
        path.write_bytes(damage(data, content))
        with contextlib.suppress(SlideError):
            read_everything(path)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 500 * 1024  # kB
