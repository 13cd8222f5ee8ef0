import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from shapely import box

from eosin.annotations import Feature, write_geojson
from eosin.core import CohortError, ManifestError, RunError
from eosin.settings import TilingSettings
from eosin.slides import make_phantom, write_pyramid
from eosin.tiles import read_manifest
from eosin.workflows import tile
from eosin.workflows.tile import tile_cohort

TILING = TilingSettings(mpp=1.0, tile_px=64)
WHITE = np.full((512, 512, 3), 244, np.uint8)


@pytest.fixture
def copied(cohort, tmp_path):
    """Copy the first slides of the cohort; the table of them, and its rows."""

    def copy(n=None):
        shutil.copytree(cohort.table.parent, tmp_path / "cohort")
        table = tmp_path / "cohort" / "slides.csv"
        rows = pd.read_csv(table)[:n]
        rows.to_csv(table, index=False)
        return table, rows

    return copy


@pytest.fixture
def tile_rows(tmp_path):
    """Tile a slide table of some rows."""

    def tile_these(*rows, **changes):
        pd.DataFrame(rows).to_csv(tmp_path / "slides.csv", index=False)
        settings = dataclasses.replace(TILING, **changes)
        return tile_cohort(tmp_path / "slides.csv", tmp_path / "tiles", settings)

    return tile_these


def read_status(folder):
    return json.loads((folder / "run.json").read_text())["status"]


def test_labels_agree_with_the_phantoms_own_truth(cohort, tile_folder):
    tiles, info = read_manifest(tile_folder / "tiles.parquet")
    assert info.class_names == ("normal", "tumor")
    own = tiles[tiles["slide_id"] == "slide-01"]
    # The same seed draws the same slide, whose tumour is known pixel by pixel.
    truth = make_phantom(seed=0, size_px=(1024, 896), scanner="S1").tumour
    places = own[["x_px0", "y_px0", "size_px0"]].to_numpy()
    shares = np.array([truth[y : y + n, x : x + n].mean() for x, y, n in places])
    # The outline is simplified, so shares near the threshold may go either way.
    assert (own["label"][shares > 0.6] == 1).all()
    assert (own["label"][shares == 0].dropna() == 0).all()
    assert np.abs(own["tumor_fraction"] - shares).max() < 0.1


def test_every_slide_has_an_overview_and_a_row(cohort, tile_folder):
    slides = pd.read_csv(tile_folder / "slides.csv")
    assert list(slides["slide_id"]) == [f"slide-{i:02d}" for i in range(1, 11)]
    for slide_id in slides["slide_id"]:
        assert (tile_folder / "overviews" / f"{slide_id}.jpg").stat().st_size > 5000
    assert set(slides["mpp_source"]) == {"tiff resolution"}
    # 0.5 mpp made slides at 1.0 mpp, where the next level is at 2.0.
    assert read_manifest(tile_folder / "tiles.parquet")[1].resampling == "dct 1/2"
    assert set(slides["resampling"]) == {"dct 1/2"}
    assert set(slides["reader"]) == {"native"}
    assert read_status(tile_folder) == "done"


def test_a_second_call_does_no_work_and_a_changed_setting_is_named(
    cohort, tile_folder, monkeypatch
):
    monkeypatch.setattr(tile, "find_tissue", None)
    before = (tile_folder / "tiles.parquet").stat().st_mtime_ns
    result = tile_cohort(cohort.table, tile_folder, TILING)
    assert result.n_tiles == len(pd.read_parquet(tile_folder / "tiles.parquet"))
    assert (tile_folder / "tiles.parquet").stat().st_mtime_ns == before
    changed = dataclasses.replace(TILING, min_tissue=0.5)
    with pytest.raises(RunError, match=r"min_tissue was 0\.25, is 0\.5.*--overwrite"):
        tile_cohort(cohort.table, tile_folder, changed)


def test_overviews_may_be_left_out_and_tiles_stay_the_same(copied, tmp_path):
    table, _ = copied(2)
    drawn = tile_cohort(table, tmp_path / "drawn", TILING)
    plain = tile_cohort(
        table, tmp_path / "plain", dataclasses.replace(TILING, overviews=False)
    )
    assert (drawn.folder / "overviews").is_dir()
    assert not (plain.folder / "overviews").exists()
    tables = [pd.read_parquet(r.folder / "tiles.parquet") for r in (drawn, plain)]
    pd.testing.assert_frame_equal(*tables)


def test_overwrite_replaces_a_result_of_other_settings(copied, tmp_path):
    table, _ = copied(2)
    tile_cohort(table, tmp_path / "tiles", TILING)
    (tmp_path / "tiles" / "mine.txt").write_text("keep")
    changed = dataclasses.replace(TILING, tile_px=96)
    result = tile_cohort(table, tmp_path / "tiles", changed, overwrite=True)
    _, info = read_manifest(result.folder / "tiles.parquet")
    assert info.tile_px == 96
    assert (tmp_path / "tiles" / "mine.txt").read_text() == "keep"


def test_one_bad_slide_stops_nothing_and_is_tried_again(copied, tmp_path):
    table, rows = copied(3)
    bad = tmp_path / "cohort" / rows["path"][1]
    good = bad.read_bytes()
    bad.write_bytes(good[:300])
    result = tile_cohort(table, tmp_path / "tiles", TILING)
    assert [failure.slide_id for failure in result.failures] == ["slide-02"]
    assert list(result.slides["slide_id"]) == ["slide-01", "slide-03"]
    assert read_status(tmp_path / "tiles") == "incomplete"
    bad.write_bytes(good)
    result = tile_cohort(table, tmp_path / "tiles", TILING)
    assert not result.failures
    assert list(result.slides["slide_id"]) == ["slide-01", "slide-02", "slide-03"]


@pytest.mark.parametrize("what", ["slide", "annotation"])
def test_what_may_not_be_read_is_that_slides_failure(copied, tmp_path, forbid, what):
    table, rows = copied(2)
    name = rows["path" if what == "slide" else "annotation"][0]
    forbid(tmp_path / "cohort" / name)
    result = tile_cohort(table, tmp_path / "tiles", TILING)
    (failure,) = result.failures
    assert failure.slide_id == "slide-01"
    assert "Permission denied" in failure.message
    assert list(result.slides["slide_id"]) == ["slide-02"]


def test_an_interrupted_call_ends_like_an_unbroken_one(
    cohort, tile_folder, tmp_path, monkeypatch
):
    real, calls = tile.place_tiles, []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(tile, "place_tiles", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tile_cohort(cohort.table, tmp_path / "tiles", TILING, workers=1)
    assert read_status(tmp_path / "tiles") == "interrupted"
    monkeypatch.setattr(tile, "place_tiles", real)
    tile_cohort(cohort.table, tmp_path / "tiles", TILING)
    for name in ("tiles.parquet", "slides.csv"):
        cut, whole = (folder / name for folder in (tmp_path / "tiles", tile_folder))
        assert cut.read_bytes() == whole.read_bytes()


def test_unknown_annotation_classes_are_counted(copied, tmp_path):
    table, rows = copied(2)
    config = dataclasses.replace(TILING, classes=("cancer=Krebs", "normal"))
    with pytest.raises(CohortError, match="no slide has the label 'cancer' that --c"):
        tile_cohort(table, tmp_path / "tiles", config)
    rows.drop(columns="label").to_csv(table, index=False)
    result = tile_cohort(table, tmp_path / "tiles", config)
    assert result.unknown_classes["Tumor"] >= 1
    assert set(result.label_counts) == {"unlabelled"}
    assert "No annotation is of class 'cancer'" in result.remarks[0]
    assert "Tumor (" in result.remarks[0]


def test_slides_that_give_nothing_are_told_of_and_end_nothing(copied, tmp_path):
    table, rows = copied(3)
    blank = tmp_path / "cohort" / "blank.tif"
    write_pyramid(blank, WHITE, mpp=0.5)
    # A tumour that nobody outlined may be anywhere.
    rows.loc[0, "annotation"] = None
    rows.loc[3, ["slide_id", "path", "label"]] = ["blank", str(blank), "normal"]
    rows.loc[3, "patient_id"] = "P-blank"
    rows.to_csv(table, index=False)
    result = tile_cohort(table, tmp_path / "tiles", TILING)
    assert not result.failures
    bare, unlabelled, order = result.remarks
    assert order.startswith("'tumor' is looked for")
    assert "1 of 4 slides gave no tile (blank)" in bare
    assert f"No tile of 1 of 4 slides has a label ({rows['slide_id'][0]})" in unlabelled
    # Nobody is told to call a tumour slide normal.
    assert "Only a slide that is wholly 'normal' may have that label" in unlabelled
    assert "'eosin train --unit slide'" in unlabelled


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("blank", {}, "not one of 1 slides gave a tile"),
        ("slide-01", {"tile_px": 2000}, "1 slides gave a tile.*smaller tiles"),
        ("slide-01", {"mpp": 0.1}, "needs a finer slide"),
    ],
)
def test_a_cohort_without_a_tile_says_why(
    cohort, tile_rows, tmp_path, name, changes, message
):
    path = cohort.table.parent / "slides" / f"{name}.tif"
    if name == "blank":
        path = tmp_path / "blank.tif"
        write_pyramid(path, WHITE, mpp=0.5)
    with pytest.raises(ManifestError, match=message):
        tile_rows({"path": path}, **changes)


def test_the_annotation_of_another_slide_is_a_failure_of_that_slide(
    cohort, tile_rows, tmp_path
):
    far = Feature(box(9e4, 9e4, 9.1e4, 9.1e4), class_name="Tumor")
    write_geojson(tmp_path / "far.geojson", [far])
    folder = cohort.table.parent / "slides"
    result = tile_rows(
        {"path": folder / "slide-01.tif", "annotation": "far.geojson"},
        {"path": folder / "slide-02.tif", "annotation": None},
    )
    assert [f.slide_id for f in result.failures] == ["slide-01"]
    assert "outside the slide" in result.failures[0].message


def test_an_annotation_that_lies_on_glass_and_a_full_slide_are_told(
    cohort, tile_rows, tmp_path
):
    write_geojson(
        tmp_path / "glass.geojson",
        [Feature(box(1, 1, 30, 30), class_name="Tumor"), Feature(box(-90, 0, 9, 9))],
    )
    pink = np.random.default_rng(0).normal((205, 140, 185), 12, (512, 512, 3))
    write_pyramid(tmp_path / "pink.tif", np.clip(pink, 0, 255).astype(np.uint8), mpp=1)
    result = tile_rows(
        {
            "path": cohort.table.parent / "slides" / "slide-01.tif",
            "annotation": "glass.geojson",
        },
        {"path": tmp_path / "pink.tif", "annotation": None},
    )
    (caution,) = result.cautions
    assert "glass.geojson on slide slide-01: 0% of the outlined area" in caution
    # Of 29 x 29 + 99 x 9 squared pixels 90 x 9 lie left of the slide.
    assert "47% beyond the slide" in caution
    (full,) = (said for said in result.remarks if "taken for tissue" in said)
    assert "1 of 2 slides" in full
    assert "pink" in full


def test_what_the_files_say_of_themselves_is_told_once_for_all(tile_rows, tmp_path):
    pink = np.random.default_rng(0).normal((205, 140, 185), 12, (512, 512, 3))
    pink = np.clip(pink, 0, 255).astype(np.uint8)
    label = np.full((100, 300, 3), 200, np.uint8)
    for name, resolution in (("a", (10_000, 10_000)), ("b", (10_000, 9_600))):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            said = {"resolution": resolution, "resolutionunit": "CENTIMETER"}
            for image in (pink, label):
                file.write(image, tile=(64, 64), photometric="rgb", **said)
                said = {}
    result = tile_rows({"path": tmp_path / "a.tif"}, {"path": tmp_path / "b.tif"})
    of_both, of_one = result.cautions
    assert "2 of 2 slides (a, b): an image of 300 x 100 px is left out" in of_both
    assert "1 of 2 slides (b): pixels are not square" in of_one


def test_a_full_disk_stops_the_command_and_leaves_no_half_file(
    cohort, tmp_path, monkeypatch
):
    def fill(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fill)
    with pytest.raises(RunError, match="No space left on device"):
        tile_cohort(cohort.table, tmp_path / "tiles", TILING)
    assert not list((tmp_path / "tiles").rglob("*.part*"))
    assert not (tmp_path / "tiles" / "tiles.parquet").exists()


def test_without_measuring_no_pixel_of_a_tile_is_read(cohort, tile_rows):
    path = cohort.table.parent / "slides" / "slide-02.tif"
    row = {"path": path, "label": "normal"}
    result = tile_rows(row, measures=False, tissue="density")
    tiles, _ = read_manifest(result.folder / "tiles.parquet")
    assert tiles["sharpness"].isna().all()
    assert (tiles["label"] == 0).all()


def test_damaged_tiles_are_flagged_and_keep_no_label(copied, tmp_path):
    table, rows = copied()
    path = table.parent / rows["path"][0]
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        side = page.tilewidth
        # The second native tile of the second row.
        number = across + 1
        start, count = page.dataoffsets[number], page.databytecounts[number]
    content = bytearray(path.read_bytes())
    content[start + 10 : start + count] = bytes(count - 10)
    path.write_bytes(bytes(content))
    result = tile_cohort(table, tmp_path / "tiles", TILING)
    assert not result.failures
    tiles, _ = read_manifest(tmp_path / "tiles" / "tiles.parquet")
    own = tiles[tiles["slide_id"] == rows["slide_id"][0]]
    x, y, size = (own[name] for name in ("x_px0", "y_px0", "size_px0"))
    touches = (
        (x < 2 * side) & (x + size > side) & (y < 2 * side) & (y + size > side)
    ).to_numpy()
    assert touches.any()
    assert (own["flags"].str.contains("damaged").to_numpy() == touches).all()
    assert own["label"][touches].isna().all()
    assert own["sharpness"].isna().to_numpy().tolist() == touches.tolist()
    slides = pd.read_csv(tmp_path / "tiles" / "slides.csv")
    assert slides["n_damaged"].tolist() == [touches.sum()] + [0] * (len(slides) - 1)


def test_a_slide_taken_out_of_the_table_leaves_the_tiles(copied, tmp_path):
    table, rows = copied(3)
    tile_cohort(table, tmp_path / "tiles", TILING)
    rows.iloc[1:].to_csv(table, index=False)
    result = tile_cohort(table, tmp_path / "tiles", TILING)
    tiles, _ = read_manifest(tmp_path / "tiles" / "tiles.parquet")
    assert rows["slide_id"][0] not in set(tiles["slide_id"])
    assert result.n_tiles == len(tiles)
    slides = pd.read_csv(tmp_path / "tiles" / "slides.csv")
    assert slides["slide_id"].tolist() == rows["slide_id"].tolist()[1:]


def test_one_file_under_two_names_is_told(phantom_path, tmp_path):
    """Of two patients it would be trained and tested on."""
    for name in ("a", "b"):
        shutil.copy(phantom_path, tmp_path / f"{name}.tif")
    other = tmp_path / "c.tif"
    other.write_bytes(phantom_path.read_bytes() + b"\0")
    table = tmp_path / "slides.csv"
    table.write_text("path,patient_id\na.tif,P1\nb.tif,P2\nc.tif,P3\n")
    settings = TilingSettings(mpp=1.0, tile_px=64)
    result = tile_cohort(table, tmp_path / "tiles", settings)
    (caution,) = result.cautions
    assert "a, b are one file under 2 names, of patients P1, P2" in caution
    # It goes to the report of what is trained on these tiles.
    _, info = read_manifest(tmp_path / "tiles" / "tiles.parquet")
    assert caution in info.cautions
