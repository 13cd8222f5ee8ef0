"""Directories that never end, or ask for more than a file can have."""

import struct

import numpy as np
import pytest
import tifffile

from eosin.core import SlideError
from eosin.slides import open_slide, tiff_directories
from eosin.slides.image_reader import ImageSlide
from eosin.slides.tiff_directories import check_directories

# Order, version, and the formats of an offset, of a count of tags and of a tag.
CLASSIC = ("<", 42, "I", "H", "HHII")
BIG = ("<", 43, "Q", "Q", "HHQQ")
BIG_ENDIAN = (">", 42, "I", "H", "HHII")
KINDS = {"classic": CLASSIC, "big": BIG, "big-endian": BIG_ENDIAN}
TAGS = [(256, 4, 1, 64), (257, 4, 1, 64), (322, 4, 1, 64), (323, 4, 1, 64)]


def write(path, kind, directories, *, room=0):
    """Write directories of tags, each with the number of the next one; -1 is the end.

    The values of SubIFDs are numbers of directories too.
    """
    order, version, offset, count, tag = kind
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}H", version)
    if version == 43:
        head += struct.pack(f"{order}HH", 8, 0)
    at = len(head) + struct.calcsize(offset)
    places = []
    for tags, _ in directories:
        places.append(at)
        fixed = struct.calcsize(order + count) + struct.calcsize(order + offset)
        at += fixed + len(tags) * struct.calcsize(order + tag)
    data = head + struct.pack(order + offset, places[0])
    for tags, following in directories:
        data += struct.pack(order + count, len(tags))
        for code, type_, n, value in tags:
            data += struct.pack(
                order + tag, code, type_, n, places[value] if code == 330 else value
            )
        data += struct.pack(order + offset, places[following] if following >= 0 else 0)
    path.write_bytes(data + bytes(room))


def check(path):
    data = path.read_bytes()
    check_directories(path.name, len(data), lambda at, n: data[at : at + n])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("back_to", [0, 1, 120])
@pytest.mark.parametrize("name", ["a.tif", "a.svs", "a.png"])
def test_directories_in_a_circle_are_refused(tmp_path, kind, back_to, name):
    """Directory 150 names itself, or one far before it, as the next."""
    directories = [(TAGS, i + 1) for i in range(150)] + [(TAGS, back_to)]
    write(tmp_path / name, KINDS[kind], directories)
    with pytest.raises(SlideError, match=rf"{name}: its TIFF directory at byte \d+ is"):
        check(tmp_path / name)
    with pytest.raises(SlideError, match=name):
        open_slide(tmp_path / name)


def test_a_directory_that_names_itself_is_refused_by_each_reader(tmp_path):
    write(tmp_path / "a.tif", CLASSIC, [(TAGS, 0)])
    for read in (open_slide, ImageSlide):
        with pytest.raises(SlideError, match="so that they never end"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", KINDS)
def test_branches_may_lead_back_but_not_everywhere(tmp_path, kind, monkeypatch):
    branch = (330, 18 if kind == "big" else 13, 1)
    # 0 branches to 1, 1 to 2, and 2 back to 0: each is walked once.
    directories = [([(*branch, (i + 1) % 3)], -1) for i in range(3)]
    write(tmp_path / "a.tif", KINDS[kind], directories)
    check(tmp_path / "a.tif")
    monkeypatch.setattr(tiff_directories, "MOST_DIRECTORIES", 2)
    with pytest.raises(SlideError, match="at most 2 TIFF directories"):
        check(tmp_path / "a.tif")


def test_a_list_of_many_branches_is_refused(tmp_path):
    # 5000 values that lie behind the directory, each of them another place.
    write(tmp_path / "a.tif", CLASSIC, [([(259, 3, 1, 1)] * 2, -1)], room=40_000)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<HHII", data, 10, 330, 4, 5000, 100)
    struct.pack_into("<5000I", data, 100, *range(9, 5009))
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SlideError, match="at most 1000 TIFF directories"):
        check(tmp_path / "a.tif")


def test_thousands_of_directories_are_refused(tmp_path):
    directories = [(TAGS, i + 1) for i in range(1000)] + [(TAGS, -1)]
    write(tmp_path / "a.tif", CLASSIC, directories)
    with pytest.raises(SlideError, match="at most 1000 TIFF directories"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", KINDS)
def test_one_text_that_is_named_a_thousand_times_counts_each_time(tmp_path, kind):
    # 1 MB, which all of 300 tags take for theirs.
    texts = [(270, 2, 1 << 20, 16)] * 300
    write(tmp_path / "a.tif", KINDS[kind], [(texts, -1)], room=1 << 20)
    with pytest.raises(SlideError, match="may take 256 MB, they take 300"):
        check(tmp_path / "a.tif")


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_what_writers_write_passes(tmp_path, bigtiff, byteorder):
    image = np.zeros((64, 64, 3), np.uint8)
    options = {"photometric": "rgb", "tile": (16, 16), "metadata": None}
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as writer:
        writer.write(image, subifds=2, description="x" * 5000, **options)
        writer.write(image[::2, ::2], subfiletype=1, **options)
        writer.write(image[::4, ::4], subfiletype=1, **options)
        for _ in range(30):
            writer.write(image, **options)
    check(path)


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0", b"II*\0\x08\0\0\0", b"MM\0+"])
def test_what_is_cut_short_is_left_to_the_parser(tmp_path, data):
    (tmp_path / "a.tif").write_bytes(data)
    check(tmp_path / "a.tif")
