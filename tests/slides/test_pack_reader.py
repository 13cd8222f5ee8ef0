import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import ipc
from tests.slides.conftest import BOXES, write_pack

from eosin.core import SlideError
from eosin.slides import (
    DamagedTileError,
    PackWriter,
    describe_slide,
    find_cells,
    list_packed,
    name_packed,
    open_slide,
    read_origin,
    split_packed,
)

KINDS = ("svs-jpeg", "svs-rgb", "svs-33003", "svs-33005", "lzw", "deflate", "none")


@pytest.fixture(scope="module")
def pack(make_tiled, tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "pack with ä.arrow"
    return write_pack(path, {kind: make_tiled(kind) for kind in KINDS})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile_px", [256, 128, 100])
def test_a_packed_tile_is_the_slides_bit_for_bit(pack, make_tiled, kind, tile_px):
    found, expected = (np.zeros((3, tile_px, tile_px, 3), np.uint8) for _ in "ab")
    with open_slide(name_packed(pack, kind)) as packed:
        packed.read_tiles(BOXES, found)
        small = packed.read_image(downsample=4)
    with open_slide(make_tiled(kind)) as slide:
        slide.read_tiles(BOXES, expected)
        assert np.array_equal(small, slide.read_image(downsample=4))
    assert np.array_equal(found, expected)


def test_a_packed_slide_has_the_facts_of_its_own(pack, make_tiled):
    with (
        open_slide(name_packed(pack, "svs-jpeg")) as packed,
        open_slide(make_tiled("svs-jpeg")) as slide,
    ):
        for name in ("levels", "bounds", "vendor", "native_tile_px", "resolution"):
            assert getattr(packed, name) == getattr(slide, name)
        assert packed.properties.items() <= slide.properties.items()
        assert packed.properties["openslide.vendor"] == slide.vendor
        assert "tiff.ImageDescription" not in packed.properties
        assert packed.reader == "pack"
    with open_slide(name_packed(pack, "svs-jpeg"), mpp=0.3) as packed:
        assert packed.mpp_source == "given"


def test_what_was_not_packed_is_an_error_not_white(pack):
    with (
        open_slide(name_packed(pack, "svs-jpeg")) as packed,
        pytest.raises(SlideError, match=r"x=768, y=0, level 0 was not packed"),
    ):
        packed.read(780, 10, 50, 50)


def test_other_programs_read_a_pack(pack, make_tiled):
    with pa.memory_map(str(pack)) as file:
        table = ipc.open_file(file).read_all()
    rows = table.to_pylist()
    first = next(
        row
        for row in rows
        if row["slide_id"] == "svs-jpeg" and (row["level"], row["row"]) == (0, 0)
    )
    picture = np.asarray(Image.open(io.BytesIO(first["data"])))
    with open_slide(make_tiled("svs-jpeg")) as slide:
        assert np.array_equal(picture, slide.read(0, 0, 256, 256))


def test_damage_stays_damage(make_tiled, tmp_path):
    path = tmp_path / "a.svs"
    path.write_bytes(make_tiled("svs-jpeg").read_bytes())
    slide = open_slide(path)
    slide.grids[0].offsets[0, 0] = 10**9
    told = {"a": describe_slide(slide)}
    with PackWriter(tmp_path / "p.arrow", told, "origin") as writer:
        assert writer.write("a", slide, find_cells(slide, BOXES, 256)) == 10
    with (
        open_slide(name_packed(tmp_path / "p.arrow", "a")) as packed,
        pytest.raises(DamagedTileError, match="damaged when it was packed"),
    ):
        packed.read(0, 0, 10, 10)


def test_slides_are_listed_and_named(pack, tmp_path):
    assert list_packed(pack) == KINDS
    assert read_origin(pack) == "origin"
    assert split_packed(name_packed(pack, "a::b")) == (pack, "a::b")
    assert split_packed(tmp_path / "a.svs") is None
    with pytest.raises(SlideError, match="holds no slide 'nobody'"):
        open_slide(name_packed(pack, "nobody"))


@pytest.mark.parametrize("content", [b"", b"not arrow", "cut", "other", "old"])
def test_what_is_no_pack_is_an_error(pack, tmp_path, content):
    path = tmp_path / "bad.arrow"
    if content == "cut":
        content = pack.read_bytes()[:-200]
    if content in ("other", "old"):
        schema = pa.schema([("a", pa.int64())])
        if content == "old":
            schema = schema.with_metadata(
                {"eosin.pack": '{"format": 0, "slides": {}, "made_from": ""}'}
            )
        with ipc.new_file(str(path), schema) as writer:
            writer.write_batch(pa.record_batch([[1]], schema=schema))
    else:
        path.write_bytes(content)
    with pytest.raises(SlideError, match="pack"):
        open_slide(name_packed(path, "a"))


_DAMAGE = """
import random, sys
from pathlib import Path
from eosin.core import SlideError
from eosin.slides import list_packed, name_packed, open_slide
pack, place = Path(sys.argv[1]), Path(sys.argv[2])
sound = pack.read_bytes()
for case in range(300):
    rng, data = random.Random(case), bytearray(sound)
    for _ in range(rng.randint(1, 3)):
        ends = rng.randrange(6000), rng.randrange(len(data) - 4000, len(data))
        data[rng.choice(ends)] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
    path = place / f"{case}.arrow"
    path.write_bytes(data)
    try:
        for slide_id in list_packed(path):
            with open_slide(name_packed(path, slide_id)) as slide:
                slide.read(0, 0, 512, 512)
                slide.read(0, 0, 200, 170, level=1)
    except SlideError:
        pass
    path.unlink()
print("whole")
"""


def test_a_damaged_pack_is_a_slide_error_and_ends_nothing(make_tiled, tmp_path):
    # In a process of its own, since what is damaged could end the process.
    pack = write_pack(tmp_path / "a.arrow", {"a": make_tiled("svs-jpeg")})
    command = [sys.executable, "-c", _DAMAGE, str(pack), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr[-2000:]
