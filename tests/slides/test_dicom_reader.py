import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.slides.dicom_files import (
    add_frames,
    add_positions,
    encode,
    make_dataset,
    put,
    save,
    write_image,
    write_parts,
    write_slide,
)
from tests.slides.pixels import cut_tiles, paint

from eosin.core import SlideError
from eosin.slides.dicom_header import read_header
from eosin.slides.dicom_reader import DICOMSlide
from eosin.slides.openslide_reader import OpenSlideSlide
from eosin.slides.slide import DamagedTileError

SMALL = {"size": (300, 420), "side": 96}


@pytest.mark.realdata
def test_a_real_slide_that_does_not_say_what_it_is_is_refused(data_folder):
    with pytest.raises(SlideError, match=r"ImageType .* is missing"):
        DICOMSlide(data_folder / "wsi" / "small_dicom.dcm")


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("jpeg-miscalled", 8), ("j2k-aperio", 4), ("jpeg-grey", 4), ("plain-grey", 0)],
)
def test_colours_that_openslide_gets_wrong_or_refuses_are_right(
    make_dicom, kind, tolerance
):
    # Against the pixels that were encoded: lossy codecs keep them to a few grey
    # levels on average, a wrong colour transform does not.
    image = paint(700, 900)
    if kind.endswith("grey"):
        image = np.repeat(image[..., 1:2], 3, axis=2)
    with DICOMSlide(make_dicom(kind)) as slide:
        found = slide.read(0, 0, 900, 700)
    assert np.abs(found.astype(int) - image).mean() <= tolerance


@pytest.mark.parametrize("undefined", [False, True])
@settings(max_examples=12)
@given(data=st.data())
def test_sparse_slides_are_openslides(tmp_path_factory, undefined, data):
    folder = tmp_path_factory.mktemp("sparse")
    cells = [(x, y) for y in range(2) for x in range(3)]
    chosen = data.draw(st.lists(st.sampled_from(cells), min_size=1, unique=True))
    made = make_dataset((190, 120), 64, "plain")
    add_positions(made, [(64 * x, 64 * y) for x, y in chosen], undefined=undefined)
    frames = cut_tiles(paint(120, 190), 64)
    add_frames(made, [frames[3 * y + x].tobytes() for x, y in chosen])
    path = save(made, folder / "a.dcm")
    with DICOMSlide(path) as slide, OpenSlideSlide(path) as oracle:
        found = slide.read(-5, -5, 220, 150)
        assert np.array_equal(found, oracle.read(-5, -5, 220, 150))
    # What was never stored is white.
    for x, y in set(cells) - set(chosen):
        hole = found[5 + 64 * y : min(69 + 64 * y, 125), 5 + 64 * x :][:, :62]
        assert (hole == 255).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_slide_spread_over_files_is_openslides(tmp_path, sparse):
    # OpenSlide wants both.
    full = put("DimensionOrganizationType", "TILED_FULL")
    change = None if sparse else lambda _, made: full(made)
    write_parts(tmp_path, (5,), change=change, sparse=True)
    path = tmp_path / "8.dcm"
    with DICOMSlide(path) as slide, OpenSlideSlide(path) as oracle:
        found = slide.read(-20, -20, 1000, 800)
        assert np.array_equal(found, oracle.read(-20, -20, 1000, 800))


def test_frames_in_several_items_are_read(tmp_path):
    made = make_dataset((900, 700), 256, "jpeg")
    frames = encode(paint(700, 900), 256, "jpeg")
    read = []
    for table, fragments in (("basic", 1), ("basic", 3), ("none", 3)):
        add_frames(made, frames, table=table, fragments=fragments)
        with DICOMSlide(save(made, tmp_path / "a.dcm")) as slide:
            read.append(slide.read(0, 0, 900, 700))
    assert np.array_equal(read[0], read[1])
    assert np.array_equal(read[0], read[2])


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_a_slide_cut_short_has_white_tiles_and_says_where(make_dicom, tmp_path, table):
    content = make_dicom("jpeg", table=table).read_bytes()
    whole = write_image(tmp_path / "0.dcm", paint(700, 900), 256, "jpeg", table=table)
    assert whole.read_bytes() == content
    with DICOMSlide(whole) as slide:
        expected = slide.read(0, 0, 900, 700)
        # Behind the first of the second row's frames.
        grid = slide.grids[0]
        end = int(grid.offsets[1, 0] + grid.byte_counts[1, 0])
    whole.write_bytes(content[: end + 30])
    boxes = np.array([(0, 0, 256, 256), (0, 256, 256, 256), (256, 256, 256, 256)])
    out = np.empty((3, 256, 256, 3), np.uint8)
    damaged = np.zeros(3, bool)
    with DICOMSlide(whole) as slide:
        slide.read_tiles(boxes, out, damaged=damaged)
        assert damaged.tolist() == [False, False, True]
        assert np.array_equal(out[1], expected[256:512, :256])
        assert (out[2] == 255).all()
        with pytest.raises(DamagedTileError, match="x=256, y=256, level 0"):
            slide.read(256, 256, 10, 10)


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_a_frame_that_lies_elsewhere_is_damage_not_another_picture(
    make_dicom, tmp_path, table
):
    content = bytearray(make_dicom("jpeg", table=table).read_bytes())
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with DICOMSlide(path) as slide:
        place = int(slide.grids[0].offsets[0, 1])
        expected = slide.read(0, 0, 900, 700)
    # The item's length.
    content[place + 4] ^= 16
    path.write_bytes(content)
    with DICOMSlide(path) as slide:
        damaged = np.zeros(12, bool)
        out = np.empty((12, 256, 256, 3), np.uint8)
        boxes = np.array(
            [(x, y, 256, 256) for y in (0, 256, 512) for x in range(0, 1024, 256)]
        )
        slide.read_tiles(boxes, out, damaged=damaged)
    assert damaged[1]
    for box, is_damaged, found in zip(boxes.tolist(), damaged, out, strict=True):
        x, y = box[:2]
        if not is_damaged:
            part = expected[y : y + 256, x : x + 256]
            assert np.array_equal(found[: part.shape[0], : part.shape[1]], part)


def test_an_image_beside_the_pyramid_that_is_damaged_is_named(tmp_path):
    path = write_slide(tmp_path, "plain")
    label = tmp_path / "3.dcm"
    label.write_bytes(label.read_bytes()[:-2000])
    with DICOMSlide(path) as slide:
        assert slide.read(0, 0, 10, 10).shape == (10, 10, 3)
        with pytest.raises(SlideError, match="its image 'label' cannot be read"):
            _ = slide.associated_images


def test_a_damaged_size_of_a_label_asks_for_no_memory(tmp_path):
    path = write_slide(tmp_path, "plain")

    def change(made):
        made.TotalPixelMatrixRows = made.TotalPixelMatrixColumns = 120 * 100
        made.NumberOfFrames = 1
        add_positions(made, [(0, 0)])

    header = {"uid": "1.2.3.3", "flavour": "LABEL", "change": change}
    write_image(tmp_path / "3.dcm", paint(120, 120), 120, "plain", **header)
    with (
        DICOMSlide(path) as slide,
        pytest.raises(SlideError, match="would have 12000 x 12000 px"),
    ):
        _ = slide.associated_images


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Small files of every kind of index, and where their frames begin."""
    folder = tmp_path_factory.mktemp("small")
    made = []
    for table in ("basic", "extended", "none"):
        path = folder / f"{table}.dcm"
        made.append(write_image(path, paint(90, 90), 32, "jpeg", table=table))
    made.extend(
        write_image(folder / f"{kind}.dcm", paint(90, 90), 32, kind)
        for kind in ("plain", "j2k-rct")
    )
    for undefined in (True, False):
        sparse = make_dataset((90, 90), 32, "jpeg")
        sparse.NumberOfOpticalPaths = 2
        places = [(0, 0), (32, 64), (64, 64)]
        add_positions(sparse, places, ["1", "1", "1"], undefined=undefined)
        add_frames(sparse, encode(paint(32, 96), 32, "jpeg"))
        made.append(save(sparse, folder / f"sparse{undefined}.dcm"))
    return [(path.read_bytes(), read_header(path).end) for path in made]


def try_reading(path):
    """Open and read all; whatever is wrong must be a SlideError."""
    try:
        with DICOMSlide(path) as slide:
            slide.read(0, 0, 90, 90)
    except SlideError:
        return
    with DICOMSlide(path) as slide:
        slide.read_image(downsample=2 * max(1.0, max(slide.dimensions) / 1000))


@settings(
    max_examples=200,
    # No file of 20 kB may take longer.
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_give_nothing_but_slide_errors(small_files, tmp_path, data):
    content, end = data.draw(st.sampled_from(small_files))
    damaged = bytearray(content)
    # The header, what follows it (tables, positions, items), and all of it.
    place = st.one_of(
        st.integers(132, end - 1),
        st.integers(end, min(end + 1500, len(content) - 1)),
        st.integers(0, len(content) - 1),
    )
    for _ in range(data.draw(st.integers(0, 4))):
        value = data.draw(
            st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
        )
        damaged[data.draw(place)] = value
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(damaged))
    tracemalloc.start()
    try_reading(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The index of 4 million tiles, and a picture of 1000 px a side.
    assert peak < 400 << 20
