import pytest

from eosin.cohorts import read_cohort
from eosin.core import CohortError


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "Folien mit ä"
    place.mkdir()
    for name in ("a.svs", "b.svs", "c d.svs", "TCGA-B0-4710-01Z.svs"):
        (place / name).write_bytes(b"x")
    (place / "a.xml").write_text("<x/>")
    return place


def write(folder, text, encoding="utf-8"):
    (folder / "slides.csv").write_bytes(text.encode(encoding))
    return folder / "slides.csv"


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("patientid", "patient_id"),
        ("Patient ID", "patient_id"),
        ("patinet_id", "patient_id"),
        ("case", "patient_id"),
        ("lbael", "label"),
        ("labels", "label"),
        ("Annotation_", "annotation"),
        ("splits", "split"),
    ],
)
def test_a_column_that_is_almost_one_of_ours_is_asked_about(folder, column, meant):
    with pytest.raises(CohortError, match=f"'{column}' is probably meant .*'{meant}'"):
        read_cohort(write(folder, f"path,{column}\na.svs,x\n"))
    # Beside the real one it is a column like any other.
    table = read_cohort(write(folder, f"path,{column},{meant}\na.svs,x,\n")).table
    assert table.loc[0, column] == "x"


@pytest.mark.parametrize("column", ["annotator", "age", "batch", "stain", "status"])
def test_columns_of_other_meaning_are_kept(folder, column):
    table = read_cohort(write(folder, f"path,{column}\na.svs,x\n")).table
    assert table.loc[0, column] == "x"
