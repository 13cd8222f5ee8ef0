import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from eosin.core import ManifestError, SlideError
from eosin.tiles.folder import open_tile_folder, read_tile_settings
from eosin.tiles.packing import pack_tiles


def test_a_finished_folder_opens_with_its_labels_and_settings(tile_folder):
    folder = open_tile_folder(tile_folder)
    assert folder.slide_labels["slide-01"] == 1
    assert folder.slide_labels["slide-02"] == 0
    assert folder.is_made
    assert folder.knows_patients
    assert folder.licence is None
    assert read_tile_settings(tile_folder)["tile_px"] == 64


def test_the_slide_table_says_licence_and_patients(tile_folder):
    folder = open_tile_folder(tile_folder)
    slides = folder.slides.assign(licence="CC BY 4.0", source="a hospital")
    assert dataclasses.replace(folder, slides=slides).licence == "CC BY 4.0; a hospital"
    slides = folder.slides.assign(patient_id=folder.slides["slide_id"])
    assert not dataclasses.replace(folder, slides=slides).knows_patients


def test_patches_without_a_label_are_not_studied(tile_folder):
    folder = open_tile_folder(tile_folder)
    tiles = folder.tiles.copy()
    tiles.loc[:2, "label"] = pd.NA
    own = dataclasses.replace(folder, tiles=tiles)
    assert len(own.studied_tiles) == len(tiles)
    own = dataclasses.replace(folder, tiles=tiles.assign(source="a.png"))
    assert len(own.studied_tiles) == tiles["label"].notna().sum() < len(tiles)


def test_an_unfinished_folder_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="'eosin import' has finished"):
        open_tile_folder(tmp_path)


def test_a_slide_that_moved_is_named(tile_folder, tmp_path):
    shutil.copy(tile_folder / "tiles.parquet", tmp_path)
    slides = pd.read_csv(tile_folder / "slides.csv")
    slides.loc[0, "path"] = str(tmp_path / "moved.tif")
    slides.to_csv(tmp_path / "slides.csv", index=False)
    with pytest.raises(ManifestError, match=r"1 slide\(s\) are no longer.*moved\.tif"):
        open_tile_folder(tmp_path)


@pytest.fixture
def own_folder(tile_folder, tmp_path):
    """A tile folder whose slides lie beside it, called otherwise than before."""
    place = tmp_path / "tiles"
    shutil.copytree(tile_folder, place, ignore=shutil.ignore_patterns("cache"))
    slides = pd.read_csv(place / "slides.csv", dtype=str)
    for row, path in enumerate(slides["path"]):
        slides.loc[row, "path"] = str(shutil.copy(path, tmp_path / f"moved {row}.tif"))
    slides.to_csv(place / "slides.csv", index=False)
    return place


def test_pixels_are_those_of_the_slides_that_were_tiled(own_folder):
    """A moved slide is the same; another one under its name is not."""
    folder = open_tile_folder(own_folder)
    assert folder.find_replaced(folder.slides["slide_id"]) == {}
    one, other, *_ = folder.slides["path"]
    shutil.copy(other, one)
    name = folder.slides["slide_id"][0]
    folder = open_tile_folder(own_folder)
    assert set(folder.find_replaced(folder.slides["slide_id"])) == {name}
    with pytest.raises(SlideError, match=rf"slide {name}: .*moved 0.tif: was replaced"):
        folder.open_reader()
    is_other = folder.tiles["slide_id"] != name
    with folder.open_reader(folder.tiles[is_other]) as reader:
        assert reader.read(np.array([0])).shape == (1, 64, 64, 3)


def test_folders_that_noted_nothing_are_read_as_they_are(own_folder):
    slides = pd.read_csv(own_folder / "slides.csv", dtype=str)
    old = slides.drop(columns="slide_fingerprint")
    old.to_csv(own_folder / "slides.csv", index=False)
    shutil.copy(slides["path"][1], slides["path"][0])
    folder = open_tile_folder(own_folder)
    assert folder.find_replaced(folder.slides["slide_id"]) == {}


def test_a_pack_keeps_the_pixels_that_were_tiled(own_folder):
    folder = open_tile_folder(own_folder)
    rows = np.array([0, 1])
    with folder.open_reader() as reader:
        expected = reader.read(rows)
    one, other, third, *_ = folder.slides["path"]
    shutil.copy(other, third)
    result = pack_tiles(own_folder)
    # What was replaced before is not packed.
    assert list(result.left_out) == [folder.slides["slide_id"][2]]
    assert "was replaced" in next(iter(result.left_out.values()))
    shutil.copy(other, one)
    folder = open_tile_folder(own_folder)
    with folder.open_reader(folder.tiles.iloc[rows]) as reader:
        assert np.array_equal(reader.read(rows), expected)
    with pytest.raises(SlideError, match=r"slide-03: .*was replaced"):
        folder.open_reader()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data + b",".join([b"x"] * 99) + b"\n", "cannot be read"),
        (lambda data: data[:9] + b"\xff" + data[9:], "cannot be read"),
        (lambda data: data[: len(data) // 2], "slides? that have tiles, such as"),
        (lambda _: b"", "cannot be read"),
        (lambda data: data.replace(b"0.5,", b"half,"), "cannot be read"),
        (lambda data: data.replace(b"path", b"p_th", 1), "needs a column path; it has"),
        (lambda data: data.replace(b"slide-01,", b",", 1), "1 without or twice"),
        (
            lambda data: data.replace(b"slide-01,", b"slide-02,", 1),
            "1 without or twice",
        ),
        (
            lambda data: data.replace(b"\n", b",1\n").replace(b",1\n", b"\n", 1),
            "cannot be read",
        ),
    ],
)
def test_a_torn_slide_table_is_refused_by_name(own_folder, spoil, message):
    table = own_folder / "slides.csv"
    table.write_bytes(spoil(table.read_bytes()))
    with pytest.raises(ManifestError, match=rf"slides\.csv: .*{message}"):
        open_tile_folder(own_folder)
