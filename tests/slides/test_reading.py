"""What all readers do alike, with OpenSlide as the judge where it reads the file."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.slides.conftest import write_pack
from tests.slides.pixels import paint
from tests.slides.tiff_files import TIFF_KINDS

from eosin.core import SlideError
from eosin.slides import name_packed, open_slide
from eosin.slides.openslide_reader import OpenSlideSlide
from eosin.slides.tile_codecs import JPEG2000Tiles

REAL_SLIDES = (
    *("prostate/slides/A-S01.svs", "prostate/slides/A-S15.svs"),
    *("wsi/CMU-1-Small-Region.svs", "wsi/camelyon16_tumor_001_level5.tif"),
    *("wsi/boxes.tiff", "wsi/tcga-cr-7395-01a-01-ts1.svs"),
    *("wsi/boxes_0.dcm", "wsi/boxes_1.dcm"),
)
SMALL = {"size": (300, 420), "side": 96}
CASES = [
    *(("make_tiled", kind, {}) for kind in TIFF_KINDS),
    *(("make_tiled", "svs-jpeg", {"side": side}) for side in (240, 512, 1024)),
    *(
        ("make_dicom", kind, SMALL)
        for kind in ("jpeg", "jpeg-rgb", "j2k-ict", "j2k-rct", "j2k-rgb", "plain")
    ),
    *(("make_dicom", "jpeg", {"table": t, **SMALL}) for t in ("extended", "none")),
    *(("make_dicom", "jpeg", {"side": side}) for side in (240, 512, 1024)),
    *(
        pytest.param(("data_folder", name, {}), marks=pytest.mark.realdata)
        for name in REAL_SLIDES
    ),
]


@pytest.fixture(params=CASES, ids=str)
def path(request):
    source, kind, options = request.param
    make = request.getfixturevalue(source)
    return make / kind if source == "data_folder" else make(kind, **options)


def test_headers_and_images_beside_the_pyramid_are_openslides(path):
    with open_slide(path) as slide, OpenSlideSlide(path) as oracle:
        for name in ("levels", "bounds", "native_tile_px", "mpp", "mpp_source"):
            assert getattr(slide, name) == getattr(oracle, name)
        keys = [key for key in slide.properties if key[:6] in ("aperio", "dicom.")]
        for key in keys:
            assert slide.properties[key] == oracle.properties[key]
        assert {key for key in oracle.properties if "aperio." in key} <= set(keys)
        ours, theirs = slide.associated_images, oracle.associated_images
        assert sorted(ours) == sorted(theirs)
        for name, pixels in theirs.items():
            assert np.array_equal(ours[name], pixels)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_pixels_are_openslides_at_every_place(path, data):
    with open_slide(path) as slide, OpenSlideSlide(path) as oracle:
        assert slide.reader == "native"
        level = data.draw(st.integers(0, len(slide.levels) - 1))
        own = slide.levels[level]
        # On the level's own pixels: between them OpenSlide blends neighbours.
        exact = own.downsample == int(own.downsample)
        x = data.draw(st.integers(-300, own.width_px + 50)) if exact else 0
        y = data.draw(st.integers(-300, own.height_px + 50)) if exact else 0
        width, height = data.draw(st.integers(1, 700)), data.draw(st.integers(1, 700))
        place = (round(x * own.downsample), round(y * own.downsample), width, height)
        found = slide.read(*place, level=level).astype(int)
        expected = oracle.read(*place, level=level)
    # The two colour transforms of JPEG 2000 round differently.
    tolerance = int(slide.grids[level].codec == JPEG2000Tiles("ycbcr"))
    assert np.abs(found - expected).max() <= tolerance


@pytest.fixture(params=["tiff", "dicom", "pack", "openslide", "image"])
def opener(request, make_tiled, make_dicom, tmp_path):
    """Open a slide of 900 x 700 px, by each reader."""
    path = make_tiled("svs-jpeg")
    if request.param == "dicom":
        path = make_dicom("jpeg")
    if request.param == "openslide":
        return partial(OpenSlideSlide, path)
    if request.param == "pack":
        boxes = np.array([(0, 0, 900, 700)])
        pack = write_pack(tmp_path / "a.arrow", {"a": path}, boxes, 700)
        path = name_packed(pack, "a")
    if request.param == "image":
        path = tmp_path / "a.png"
        Image.fromarray(paint(700, 900)).save(path)
    return partial(open_slide, path)


def test_one_slide_is_read_from_many_threads(opener):
    rng = np.random.default_rng(1)
    boxes = [(int(x), int(y), 200, 150) for x, y in rng.integers(-50, 800, (40, 2))]
    with opener() as slide:
        expected = [slide.read(*box) for box in boxes]
    with opener() as slide, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda box: slide.read(*box), boxes))
    assert all(map(np.array_equal, found, expected))


def count_descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_closed_slide_says_so_and_gives_its_file_back(opener):
    with opener():
        pass
    before = count_descriptors()
    for _ in range(10):
        with opener() as slide:
            _ = slide.associated_images
        slide.close()
        with pytest.raises(SlideError, match="was closed"):
            slide.read(0, 0, 10, 10)
    assert count_descriptors() == before


def test_closing_while_others_read_harms_nobody(opener, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(1 << 20))
    with opener() as slide:
        expected = slide.read(0, 0, 300, 300)
    wrong = []

    def read(slide):
        try:
            while np.array_equal(slide.read(0, 0, 300, 300), expected):
                pass
            wrong.append("another file's bytes")
        except SlideError as error:
            if "was closed" not in str(error):
                wrong.append(str(error))

    for _ in range(10):
        slide = opener()
        threads = [threading.Thread(target=read, args=(slide,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        slide.close()
        with other.open("rb"):  # takes the descriptor's number, if it is free
            for thread in threads:
                thread.join(5)
    assert not wrong
