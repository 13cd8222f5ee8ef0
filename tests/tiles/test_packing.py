import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.core import ManifestError
from eosin.settings import TilingSettings
from eosin.tiles.folder import open_tile_folder
from eosin.tiles.packing import pack_tiles
from eosin.workflows.tile import tile_cohort


@pytest.fixture
def folder(tile_folder, tmp_path):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    return tmp_path / "tiles"


def read_all(folder, **options):
    opened = open_tile_folder(folder, **options)
    with opened.open_reader() as reader:
        return opened.slides["path"].tolist(), reader.read(np.arange(reader.n_tiles))


def test_a_pack_is_read_instead_of_the_slides_and_is_the_same(folder):
    paths, expected = read_all(folder)
    result = pack_tiles(folder)
    assert (result.n_slides, dict(result.left_out)) == (10, {})
    assert result.n_native_tiles > 10
    assert result.n_bytes == (folder / "pack.arrow").stat().st_size
    packed_paths, found = read_all(folder)
    assert all("pack.arrow::slide-" in path for path in packed_paths)
    assert np.array_equal(found, expected)
    assert read_all(folder, use_pack=False)[0] == paths
    assert pack_tiles(folder).n_native_tiles == 0


def test_a_pack_of_another_tile_table_is_not_read(folder):
    pack_tiles(folder)
    sha256 = open_tile_folder(folder).sha256.encode()
    content = (folder / "pack.arrow").read_bytes()
    (folder / "pack.arrow").write_bytes(content.replace(sha256, b"0" * 64))
    assert not any("pack.arrow" in path for path in read_all(folder)[0])
    assert pack_tiles(folder).n_native_tiles > 0


def test_slides_that_changed_are_packed_anew(folder):
    pack_tiles(folder)
    slides = pd.read_csv(folder / "slides.csv")
    slides.loc[0, "mpp_used"] *= 1.05
    slides.to_csv(folder / "slides.csv", index=False)
    assert pack_tiles(folder).n_native_tiles > 0


def test_a_packed_folder_needs_its_slides_no_longer(folder, cohort, tmp_path):
    pack_tiles(folder)
    _, expected = read_all(folder)
    slides = pd.read_csv(folder / "slides.csv")
    slides["path"] = [f"/gone/{name}.svs" for name in slides["slide_id"]]
    slides.to_csv(folder / "slides.csv", index=False)
    assert np.array_equal(read_all(folder)[1], expected)
    with pytest.raises(ManifestError, match="no longer where they were"):
        open_tile_folder(folder, use_pack=False)


def test_what_cannot_be_packed_stays_where_it_is(tmp_path, cohort):
    rows = pd.read_csv(cohort.table).iloc[:2]
    first = cohort.table.parent / rows["path"][0]
    with Image.open(first) as image:
        image.convert("RGB").save(tmp_path / "flat.png")
    pd.DataFrame(
        {"path": [str(first), "flat.png"], "mpp": [0.5, 0.5], "label": "normal"}
    ).to_csv(tmp_path / "slides.csv", index=False)
    tile_cohort(
        tmp_path / "slides.csv", tmp_path / "tiles", TilingSettings(mpp=1.0, tile_px=64)
    )
    result = pack_tiles(tmp_path / "tiles")
    assert result.n_slides == 1
    assert dict(result.left_out) == {
        "flat": "its format is read by image, not tile by tile"
    }
    paths, _ = read_all(tmp_path / "tiles")
    assert paths[1].endswith("flat.png")
