import dataclasses
import shutil

import pandas as pd
import pytest

from eosin.core import ManifestError
from eosin.tiles.folder import open_tile_folder, read_tile_settings


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


def copy_folder(tile_folder, tmp_path):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    return tmp_path / "tiles"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data + b",".join([b"x"] * 99) + b"\n", "cannot be read"),
        (lambda data: data[:9] + b"\xff" + data[9:], "cannot be read"),
        (lambda data: data[: len(data) // 2], "slides? that have tiles, such as"),
        (lambda _: b"", "cannot be read"),
        (lambda data: data.replace(b"path", b"paht", 1), "needs a column path; it has"),
        (lambda data: data.replace(b"slide-01,", b",", 1), "1 without or twice"),
        (
            lambda data: data.replace(b"slide-01,", b"slide-02,", 1),
            "1 without or twice",
        ),
        (
            lambda data: data.replace(b"\n", b",1\n").replace(b",1\n", b"\n", 1),
            "such as slide-01",
        ),
    ],
)
def test_a_torn_slide_table_is_refused_by_name(tile_folder, tmp_path, spoil, message):
    folder = copy_folder(tile_folder, tmp_path)
    table = folder / "slides.csv"
    table.write_bytes(spoil(table.read_bytes()))
    with pytest.raises(ManifestError, match=rf"slides\.csv: .*{message}"):
        open_tile_folder(folder)
