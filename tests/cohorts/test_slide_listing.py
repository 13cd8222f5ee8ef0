import shutil

import pytest
from tests.slides.dicom_files import write_slide

from eosin.cohorts.slide_listing import list_files, list_slides
from eosin.core import CohortError
from eosin.tiles.packing import pack_tiles


def test_a_folder_gives_its_slides_by_name_without_hidden_files(tmp_path):
    for name in ("b.svs", "a.TIF", ".hidden.svs", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_files(tmp_path)] == ["a.TIF", "b.svs"]


def test_the_files_of_a_dicom_series_are_one_slide(tmp_path):
    write_slide(tmp_path, "jpeg")
    (tmp_path / "other.dcm").write_bytes(b"of another kind")
    assert len(list(tmp_path.glob("*.dcm"))) > 2
    chosen, other = list_files(tmp_path)
    assert other.name == "other.dcm"
    sizes = {file: file.stat().st_size for file in tmp_path.glob("*.dcm")}
    assert sizes[chosen] == max(sizes.values())


def test_a_file_stands_for_itself_and_an_empty_folder_for_nothing(tmp_path):
    assert list_files(tmp_path / "x.svs") == [tmp_path / "x.svs"]
    with pytest.raises(CohortError, match="no slide in this folder"):
        list_files(tmp_path)
    with pytest.raises(CohortError, match=r"\*\.svs: no slide is named so; a pattern"):
        list_slides([tmp_path / "*.svs"])


def test_slides_are_listed_from_folders_and_tables(cohort):
    folder = cohort.table.parent / "slides"
    assert len(list_slides([folder])) == 12
    table = list_slides([cohort.table, *cohort.new_slides])
    assert list(table["slide_id"][-2:]) == ["new-1", "new-2"]


@pytest.mark.parametrize("tables_first", [True, False])
def test_what_a_table_says_counts_whatever_the_order(cohort, tmp_path, tables_first):
    slide = cohort.new_slides[0]
    table, other = tmp_path / "slides.csv", tmp_path / "other.csv"
    table.write_text(f"slide_id,path,mpp,patient_id\nmine,{slide},0.7,PT-7\n")
    other.write_text(f"slide_id,path,mpp,patient_id\nlater,{slide},0.9,PT-9\n")
    given = [table, other, slide] if tables_first else [slide, table, other]
    # Of two tables the first counts.
    assert list_slides(given).to_dict("records") == [
        {"slide_id": "mine", "path": str(slide), "mpp": 0.7, "patient_id": "PT-7"}
    ]


def test_two_files_of_one_name_are_refused(cohort, tmp_path):
    (tmp_path / "new-1.png").write_bytes(b"")
    with pytest.raises(CohortError, match="share one"):
        list_slides([cohort.new_slides[0], tmp_path / "new-1.png"])


def test_urls_and_packs_are_listed(tile_folder, tmp_path):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    pack = pack_tiles(tmp_path / "tiles").path
    table = list_slides(["https://host/folder/S1.svs", pack])
    assert table["slide_id"].tolist()[:2] == ["S1", "slide-01"]
    assert table["path"][0] == "https://host/folder/S1.svs"
    assert table["path"][1] == f"{pack.resolve()}::slide-01"
    assert len(table) == 11


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, forbid):
    forbid(tmp_path)
    with pytest.raises(CohortError, match=r"cannot be listed .*Permission denied"):
        list_files(tmp_path)


def test_a_file_that_goes_while_it_is_listed_is_listed(tmp_path):
    for name in ("a.dcm", "b.svs"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
    assert [path.name for path in list_files(tmp_path)] == ["a.dcm", "b.svs"]
