from copy import deepcopy
from functools import partial

import pytest
from tests.slides.dicom_files import (
    add_frames,
    add_positions,
    delete,
    encode,
    make_dataset,
    paint,
    put,
    save,
    write_image,
    write_parts,
    write_slide,
)

from eosin.core import SlideError
from eosin.slides.dicom_reader import LEFT_OUT, read_dicom_index
from eosin.slides.tile_codecs import JPEGTiles


def read_tile(index, row, column):
    """Read a native tile's bytes of level 0 without what wraps them."""
    grid = index.grids[0]
    source = index.sources[int(grid.sources[row, column])]
    place = int(grid.offsets[row, column]), int(grid.byte_counts[row, column])
    return source.read(*place)[8 if grid.is_wrapped else 0 :]


def pad(frame):
    return frame + b"\0" * (len(frame) % 2)


def test_levels_are_found_from_any_file_and_from_the_folder(tmp_path):
    write_slide(tmp_path / "slide", "jpeg")
    (tmp_path / "slide" / "notes.txt").write_text("nothing of DICOM")
    for path in (tmp_path / "slide", *(tmp_path / "slide").glob("*.dcm")):
        index = read_dicom_index(path, None)
        sizes = [(each.width_px, each.height_px) for each in index.grids]
        assert sizes == [(900, 700), (225, 175)]
        assert index.grids[0].offsets.shape == (3, 4)
        assert index.grids[0].codec == JPEGTiles(None, "ycbcr")
        # Numbers of files go on from level to level.
        assert index.grids[1].sources.tolist() == [[1]]
        assert sorted(index.associated) == ["label", "macro"]
        assert index.resolution.mpp == pytest.approx(0.5)
        assert index.resolution.source == "vendor"
        assert index.resolution.candidates["objective power"] == 0.5


def test_tiles_lie_where_they_were_written(tmp_path):
    image = paint(700, 900)
    path = write_image(tmp_path / "a.dcm", image, 256, "jpeg")
    found = read_dicom_index(path, None)
    expected = encode(image, 256, "jpeg")
    for number, frame in enumerate(expected):
        assert read_tile(found, number // 4, number % 4) == pad(frame)


def write_sparse(path, places, *, paths=None, undefined=False, change=None, seed=0):
    """Write frames of 64 px at some places of an image of 192 x 128 px."""
    frames = encode(paint(64, 64 * len(places), seed), 64, "jpeg")
    made = make_dataset((192, 128), 64, "jpeg")
    add_positions(made, places, paths, undefined=undefined)
    add_frames(made, frames)
    if change:
        change(made)
    save(made, path)
    return frames


@pytest.mark.parametrize("undefined", [False, True])
def test_sparse_frames_lie_where_they_say(tmp_path, undefined):
    places = [(128, 64), (0, 0), (64, 0)]
    frames = write_sparse(tmp_path / "a.dcm", places, undefined=undefined)
    found = read_dicom_index(tmp_path / "a.dcm", None)
    assert (found.grids[0].byte_counts > 0).tolist() == [
        [True, True, False],
        [False, False, True],
    ]
    for frame, (x, y) in zip(frames, places, strict=True):
        assert read_tile(found, y // 64, x // 64) == pad(frame)


@pytest.mark.parametrize(
    "places", [[(1, 0)], [(0, 63)], [(192, 0)], [(0, 128)], [(-64, 0)]]
)
def test_frames_off_the_grid_or_outside_are_refused(tmp_path, places):
    write_sparse(tmp_path / "a.dcm", places)
    with pytest.raises(SlideError, match="must lie side by side"):
        read_dicom_index(tmp_path / "a.dcm", None)


def test_frames_that_do_not_say_where_they_lie_are_refused(tmp_path):
    change = delete("DimensionOrganizationType")
    path = write_image(tmp_path / "a.dcm", paint(64, 128), 64, "jpeg", change=change)
    with pytest.raises(SlideError, match="where its 2 frames lie must be said"):
        read_dicom_index(path, None)
    # One frame that is the whole image lies where the image does.
    path = write_image(tmp_path / "a.dcm", paint(60, 60), 64, "jpeg", change=change)
    assert read_dicom_index(path, None).grids[0].offsets.shape == (1, 1)


def test_of_several_planes_the_first_is_taken(tmp_path):
    image = paint(128, 192)
    planes = [encode(paint(128, 192, seed=i), 64, "jpeg") for i in range(3)]
    made = make_dataset((192, 128), 64, "jpeg")
    made.TotalPixelMatrixFocalPlanes = 3
    add_frames(made, [frame for plane in planes for frame in plane])
    save(made, tmp_path / "a.dcm")
    index = read_dicom_index(tmp_path / "a.dcm", None)
    assert index.properties["eosin.plane"] == "1 of 3"
    first = encode(image, 64, "jpeg")
    for number in range(6):
        tile = read_tile(index, number // 3, number % 3)
        assert tile == pad(first[number])


def test_of_several_optical_paths_the_first_is_taken(tmp_path):
    # The second path comes first at one place only, and does not count there.
    places = [(0, 0), (0, 0), (64, 0), (64, 0), (128, 0)]
    paths = ["1", "2", "2", "1", "2"]

    change = put("NumberOfOpticalPaths", 2)
    frames = write_sparse(tmp_path / "a.dcm", places, paths=paths, change=change)
    found = read_dicom_index(tmp_path / "a.dcm", None)
    assert read_tile(found, 0, 0) == pad(frames[0])
    assert read_tile(found, 0, 1) == pad(frames[3])
    assert found.grids[0].byte_counts[0, 2] == 0


@pytest.mark.parametrize("sparse", [False, True])
def test_an_image_spread_over_files_is_one(tmp_path, sparse):
    frames = write_parts(tmp_path, (5, 6), sparse=sparse)
    index = read_dicom_index(tmp_path / "8.dcm", None)
    assert len(index.grids) == 1
    found = index
    assert found.grids[0].sources.tolist() == [[0, 0, 0, 0], [0, 1, 2, 2], [2, 2, 2, 2]]
    for number, frame in enumerate(frames):
        assert read_tile(found, number // 4, number % 4) == pad(frame)


def test_a_part_that_is_missing_is_named(tmp_path):
    write_parts(tmp_path, (5, 6))
    (tmp_path / "7.dcm").unlink()
    with pytest.raises(SlideError, match=r"3 files, and 2 are there \(missing: 2\)"):
        read_dicom_index(tmp_path / "8.dcm", None)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("ConcatenationFrameOffsetNumber", 7, "must go on"),
        ("TotalPixelMatrixColumns", 901, "must go on"),
        ("InConcatenationNumber", 1, "missing: 2"),
        ("InConcatenationTotalNumber", 2, "missing: none"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    tmp_path, keyword, value, message
):
    def change(number, made):
        if number == 2 or keyword == "InConcatenationTotalNumber":
            setattr(made, keyword, value)

    write_parts(tmp_path, (5, 6), change=change)
    with pytest.raises(SlideError, match=message):
        read_dicom_index(tmp_path / "8.dcm", None)


def test_parts_need_not_say_how_many_there_are(tmp_path):
    def change(_, made):
        del made.InConcatenationTotalNumber, made.ConcatenationFrameOffsetNumber

    frames = write_parts(tmp_path, (5, 6), change=change)
    found = read_dicom_index(tmp_path / "8.dcm", None)
    assert read_tile(found, 2, 3) == pad(frames[11])


def test_a_number_of_frames_that_fills_no_grid_is_refused(tmp_path):
    made = make_dataset((900, 700), 256, "jpeg")
    add_frames(made, encode(paint(700, 900), 256, "jpeg")[:11])
    save(made, tmp_path / "a.dcm")
    with pytest.raises(SlideError, match=r"3 x 4 tiles are needed.*there are 11"):
        read_dicom_index(tmp_path / "a.dcm", None)


def test_copies_and_files_of_other_slides_do_not_count(tmp_path):
    with pytest.raises(SlideError, match="holds those of 0"):
        read_dicom_index(tmp_path, None)
    path = write_slide(tmp_path, "plain")
    write_image(tmp_path / "b.dcm", paint(64, 64), 64, "plain", series="1.2.4", uid="9")
    (tmp_path / "copy of 0.dcm").write_bytes(path.read_bytes())
    assert len(read_dicom_index(path, None).grids) == 2
    with pytest.raises(SlideError, match="holds those of 2"):
        read_dicom_index(tmp_path, None)


def test_a_slide_without_its_pyramid_says_so(tmp_path):
    write_slide(tmp_path, "plain")
    for name in ("0.dcm", "1.dcm"):
        (tmp_path / name).unlink()
    with pytest.raises(SlideError, match="only LABEL, OVERVIEW"):
        read_dicom_index(tmp_path / "3.dcm", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("ImageType"), r"5\.dcm: ImageType"),
        (put("BitsAllocated", 16), r"5\.dcm: pixels must have 8 bits"),
    ],
)
def test_a_file_beside_it_that_is_damaged_stops_the_slide(tmp_path, change, message):
    path = write_slide(tmp_path, "jpeg")
    write_image(tmp_path / "5.dcm", paint(64, 64), 64, "jpeg", change=change, uid="5")
    with pytest.raises(SlideError, match=message):
        read_dicom_index(path, None)


@pytest.mark.parametrize("names_folder", [False, True])
def test_a_label_that_cannot_be_read_is_left_out(tmp_path, names_folder):
    path = write_slide(tmp_path, "jpeg")

    def widen(made):
        made.ConcatenationUID = "1.7"
        made.InConcatenationNumber = 1
        made.InConcatenationTotalNumber = 2

    edits = (3, put("BitsAllocated", 16), "LABEL"), (4, widen, "OVERVIEW")
    for number, change, flavour in edits:
        header = {"uid": f"1.2.3.{number}", "flavour": flavour, "change": change}
        write_image(tmp_path / f"{number}.dcm", paint(64, 64), 64, "jpeg", **header)
    index = read_dicom_index(tmp_path if names_folder else path, None)
    assert len(index.grids) == 2
    assert index.associated == {}
    said = index.properties[LEFT_OUT]
    assert "label (3.dcm: pixels must have 8 bits" in said
    assert "macro (4.dcm: its image is spread over 2 files" in said


def write_twins(folder, change):
    """Write two images of one size; `change` is told which it is, and its header."""
    for number in (1, 2):
        path, image = folder / f"{number}.dcm", paint(100, 120, seed=number)
        header = {"uid": f"1.2.3.{number}", "change": partial(change, number)}
        write_image(path, image, 64, "jpeg", **header)


def test_two_images_of_one_size_are_refused(tmp_path):
    write_twins(tmp_path, lambda number, made: None)
    with pytest.raises(SlideError, match="several images of one"):
        read_dicom_index(tmp_path / "1.dcm", None)


def test_of_two_pyramids_that_of_the_named_file_is_read(tmp_path):
    write_twins(tmp_path, lambda n, made: setattr(made, "PyramidUID", f"1.2.3.9.{n}"))
    for number in (1, 2):
        index = read_dicom_index(tmp_path / f"{number}.dcm", None)
        assert index.properties["dicom.SOPInstanceUID"] == f"1.2.3.{number}"
    # A folder names none.
    with pytest.raises(SlideError, match="several images of one"):
        read_dicom_index(tmp_path, None)


def test_of_two_files_of_optical_paths_the_first_is_read(tmp_path):
    def change(number, made):
        path = deepcopy(made.OpticalPathSequence[0])
        path.OpticalPathIdentifier = f"F{3 - number}"
        made.OpticalPathSequence = [path]

    write_twins(tmp_path, change)
    index = read_dicom_index(tmp_path / "1.dcm", None)
    assert index.properties["dicom.SOPInstanceUID"] == "1.2.3.2"
    assert index.properties["eosin.optical-path"] == "F1 of F1, F2"


def test_levels_of_another_shape_are_refused(tmp_path):
    path = write_slide(tmp_path, "plain")
    write_image(tmp_path / "8.dcm", paint(100, 300), 256, "plain", uid="8")
    with pytest.raises(SlideError, match="300 x 100 px, the finest is 900 x 700"):
        read_dicom_index(path, None)


def test_a_damaged_size_asks_for_no_memory(tmp_path):
    def change(made):
        made.TotalPixelMatrixColumns = made.TotalPixelMatrixRows = 4_000_000_000

    path = write_image(tmp_path / "a.dcm", paint(64, 64), 64, "jpeg", change=change)
    with pytest.raises(SlideError, match="1 frames may have 11000 tiles"):
        read_dicom_index(path, None)


def test_one_focal_plane_is_taken_whatever_the_order(tmp_path):
    places = [(0, 0), (0, 0), (64, 0), (64, 0)]

    def change(made):
        depths = (0.0, 0.01, 0.01, 0.0)
        items = made.PerFrameFunctionalGroupsSequence
        for item, depth in zip(items, depths, strict=True):
            item.PlanePositionSlideSequence[0].ZOffsetInSlideCoordinateSystem = depth

    frames = write_sparse(tmp_path / "a.dcm", places, change=change)
    index = read_dicom_index(tmp_path / "a.dcm", None)
    assert index.properties["eosin.plane"] == "1 of 2"
    assert read_tile(index, 0, 0) == pad(frames[0])
    assert read_tile(index, 0, 1) == pad(frames[3])


def write_two_levels(folder, full, coarse):
    """Write a slide of two levels of (width, height) px, in tiles of 16 px."""
    for number, (width, height) in enumerate((full, coarse)):
        image = paint(height, width)
        write_image(folder / f"{number}.dcm", image, 16, "plain", uid=f"1.2.{number}")
    return read_dicom_index(folder / "0.dcm", None)


def test_the_padding_of_a_level_is_taken_off(tmp_path):
    # A quarter is 250 x 232 px, which whole tiles of 16 px make 256 x 240.
    index = write_two_levels(tmp_path, (1000, 925), (256, 240))
    assert (index.grids[1].width_px, index.grids[1].height_px) == (250, 232)
    assert not index.cautions


def test_a_level_of_nearly_the_slides_shape_is_told(tmp_path):
    index = write_two_levels(tmp_path, (1000, 925), (250, 235))
    assert (index.grids[1].width_px, index.grids[1].height_px) == (250, 235)
    assert "250 x 235 px" in " ".join(index.cautions)
