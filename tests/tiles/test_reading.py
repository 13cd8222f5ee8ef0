from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eosin.core import ManifestError, SlideError
from eosin.settings import TileSpec
from eosin.slides import DamagedTileError, open_slide
from eosin.tiles import TileReader, measure_sharpness, measure_tiles
from eosin.tiles import reading as module

TILE_PX = 32


@pytest.fixture(scope="module")
def tiles(slide_table: pd.DataFrame) -> pd.DataFrame:
    """Six tiles on each of the slides, the slides mixed; half shrunk by two."""
    rows = [
        {"slide_id": slide_id, "x_px0": 64 * i, "y_px0": 32 * i, "size_px0": size}
        for i, size in enumerate((32, 64, 32, 64, 32, 64))
        for slide_id in slide_table["slide_id"]
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def expected(tiles: pd.DataFrame, slide_table: pd.DataFrame) -> np.ndarray:
    """Every tile read by itself from a slide opened for it."""
    paths = slide_table.set_index("slide_id")["path"]
    result = []
    for row in tiles.to_dict("records"):
        with open_slide(paths[row["slide_id"]]) as slide:
            mpp = row["size_px0"] / TILE_PX
            place = row["x_px0"], row["y_px0"]
            result.append(slide.read(*place, TILE_PX, TILE_PX, mpp=mpp))
    return np.stack(result)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(st.integers(0, 17), max_size=12))
def test_tiles_come_in_the_order_asked(tiles, slide_table, expected, rows) -> None:
    asked = np.array(rows, np.int64)
    with TileReader(tiles, slide_table, TILE_PX) as reader:
        assert reader.n_tiles == 18
        assert np.array_equal(reader.read(asked), expected[asked])


@pytest.fixture
def opened(monkeypatch) -> list:
    """The slides that are opened, in turn."""
    paths = []

    def count(path, *, mpp):
        paths.append(path)
        return open_slide(path, mpp=mpp)

    monkeypatch.setattr(module, "open_slide", count)
    return paths


# Three slides in turn through two places: each is opened anew.
@pytest.mark.parametrize(("n_places", "n_opened"), [(2, 6), (16, 3)])
def test_few_slides_stay_open_and_the_result_is_the_same(
    tiles, slide_table, expected, monkeypatch, opened, n_places, n_opened
) -> None:
    monkeypatch.setattr(module, "_OPEN_SLIDES", n_places)
    with TileReader(tiles, slide_table, TILE_PX) as reader:
        for _ in range(2):
            assert np.array_equal(reader.read(np.arange(18)), expected)
            assert len(reader._open) == min(3, n_places)
    assert len(opened) == n_opened


def test_many_threads_read_the_same(tiles, slide_table, expected, monkeypatch) -> None:
    monkeypatch.setattr(module, "_OPEN_SLIDES", 1)
    asked = [np.random.default_rng(i).integers(0, 18, 9) for i in range(24)]
    with (
        TileReader(tiles, slide_table, TILE_PX) as reader,
        ThreadPoolExecutor(4) as pool,
    ):
        for rows, got in zip(asked, pool.map(reader.read, asked), strict=True):
            assert np.array_equal(got, expected[rows])


def test_an_unknown_slide_is_named(tiles, slide_table) -> None:
    with pytest.raises(ManifestError, match="lacks: S1"):
        TileReader(tiles, slide_table[slide_table["slide_id"] != "S1"], TILE_PX)


def test_a_slide_that_cannot_be_opened_is_named(tiles, slide_table, tmp_path) -> None:
    damaged = tmp_path / "cut short.svs"
    damaged.write_bytes(b"II*\x00")
    slides = slide_table.assign(path=[str(damaged), *slide_table["path"][1:]])
    with (
        TileReader(tiles, slides, TILE_PX) as reader,
        pytest.raises(SlideError, match=r"slide S0: cut short\.svs"),
    ):
        reader.read(np.arange(3))


def test_a_row_that_is_not_there_is_refused(tiles, slide_table) -> None:
    with (
        TileReader(tiles, slide_table, TILE_PX) as reader,
        pytest.raises(IndexError),
    ):
        reader.read(np.array([18]))


@pytest.mark.parametrize("n_tiles", [0, 5, 70])
def test_measures_are_those_of_the_pixels(array_slide, phantom, n_tiles) -> None:
    slide = array_slide(phantom.image)
    starts = np.arange(n_tiles) * 13
    tiles = pd.DataFrame({"x_px0": starts, "y_px0": starts // 2, "size_px0": 32})
    measured = measure_tiles(slide, tiles, TileSpec(1.0, 32))
    assert len(measured) == n_tiles
    for row in measured.to_dict("records"):
        pixels = slide.read(row["x_px0"], row["y_px0"], 32, 32)
        assert row["sharpness"] == pytest.approx(measure_sharpness(pixels[None])[0])
        means = [row["mean_red"], row["mean_green"], row["mean_blue"]]
        assert means == pytest.approx(pixels.mean(axis=(0, 1)).tolist(), rel=1e-5)
    assert measured["sharpness"].dtype == np.float32
    assert "sharpness" not in tiles


def test_skipped_measures_are_nan(array_slide, phantom) -> None:
    tiles = pd.DataFrame({"x_px0": [0], "y_px0": [0], "size_px0": [32]})
    measured = measure_tiles(
        array_slide(phantom.image), tiles, TileSpec(1.0, 32), skip=True
    )
    names = ["sharpness", "mean_red", "mean_green", "mean_blue"]
    assert measured[names].isna().all(axis=None)


def test_damage_is_flagged_or_an_error_where_nothing_is_left(
    array_slide, phantom, monkeypatch
):
    slide = array_slide(phantom.image)
    table = pd.DataFrame(
        {
            "x_px0": [0, 64],
            "y_px0": [0, 0],
            "size_px0": [64, 64],
            "flags": ["", "pen"],
            "label": pd.array([1, 1], "Int8"),
        }
    )
    read = array_slide._read_level

    def refuse(least):
        def damaged(self, level, x_px0, *rest):
            if x_px0 >= least:
                raise DamagedTileError("bad bytes")
            return read(self, level, x_px0, *rest)

        monkeypatch.setattr(array_slide, "_read_level", damaged)

    refuse(64)
    found = measure_tiles(slide, table, TileSpec(1.0, 64))
    assert found["flags"].tolist() == ["", "pen;damaged"]
    assert found["label"].isna().tolist() == [False, True]
    assert found["sharpness"].isna().tolist() == [False, True]
    refuse(0)
    with pytest.raises(DamagedTileError, match="bad bytes"):
        measure_tiles(slide, table, TileSpec(1.0, 64))


def test_context_shows_the_tile_in_the_middle(tiles, slide_table) -> None:
    with (
        TileReader(tiles, slide_table, TILE_PX, context=2) as reader,
        TileReader(tiles, slide_table, TILE_PX // 2) as plain,
    ):
        rows = np.arange(18)
        shown, small = reader.read(rows), plain.read(rows)
    # At twice the mpp the tile itself has half the pixels.
    middle = shown[:, 8:24, 8:24].astype(int)
    assert np.abs(middle - small).mean() < 4
