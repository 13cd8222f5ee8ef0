import pytest

from eosin.cohorts import (
    find_patient,
    read_cohort,
    require_labels,
    say_unknown_patients,
)
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


def test_only_the_path_is_needed(folder):
    table = read_cohort(write(folder, "path\na.svs\nTCGA-B0-4710-01Z.svs\n")).table
    assert list(table["slide_id"]) == ["a", "TCGA-B0-4710-01Z"]
    assert list(table["patient_id"]) == ["a", "TCGA-B0-4710"]
    assert table["path"][0] == str((folder / "a.svs").resolve())
    assert table["mpp"].isna().all()
    for name in ("annotation", "label", "split", "site", "scanner"):
        assert list(table[name]) == [None, None]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path,label,mpp\r\nc d.svs,tumor,0.5\r\n", "utf-8-sig"),
        ("path;label;mpp\nc d.svs;tumor;0,5\n", "utf-8"),
        ("sep=;\npath;label;mpp\nc d.svs;tumor;0,5\n", "utf-8"),
        ("path\tlabel\tmpp\nc d.svs\ttumor\t0.5\n\n", "utf-8"),
        ('"path","label","mpp"\n"c d.svs"," tumor ","0.5"\n', "utf-8"),
    ],
)
def test_marks_delimiters_and_line_ends_do_not_matter(folder, text, encoding):
    table = read_cohort(write(folder, text, encoding)).table
    assert table["path"][0].endswith("c d.svs")
    assert (table["label"][0], table["mpp"][0]) == ("tumor", 0.5)


def test_other_tools_column_names_are_read_and_unknown_ones_kept(folder):
    text = "PATIENT,FILENAME,category,stage\nP1,a.svs,tumor,II\n"
    table = read_cohort(write(folder, text)).table
    assert (table["patient_id"][0], table["label"][0]) == ("P1", "tumor")
    assert table["stage"][0] == "II"
    text = "case_id,wsi\nP2,b.svs\n"
    assert read_cohort(write(folder, text)).table["patient_id"][0] == "P2"
    text = "patient,slide,category\nP3,a,normal\nP4,b.svs,normal\n"
    table = read_cohort(write(folder, text)).table
    assert list(table["slide_id"]) == ["a", "b"]
    assert table["path"][0].endswith("a.svs")


def test_every_problem_is_listed_at_once(folder):
    text = (
        "path,slide_id,patient_id,annotation,label,mpp,split\n"
        "a.svs,S1,P1,a.xml,tumour,abc,train\n"
        "b.svs,S1,P1,none.xml,tumor,,test\n"
        "gone.svs,S3,P3,,tumor,,nowhere\n"
        ",S4,P4,,,,\n"
    )
    with pytest.raises(CohortError) as raised:
        read_cohort(write(folder, text), class_names=("normal", "tumor"))
    message = str(raised.value)
    for part in (
        "8 problem(s)",
        "slide_id 'S1' stands in 2 rows (lines 2, 3)",
        "line 4 (S3): no such slide file",
        "line 5: path is empty",
        "line 3 (S1): no such annotation file",
        "line 2: mpp must be micrometres per pixel, such as 0.25 or 0.5, got 'abc'",
        "line 4: split must be train, val or test, got 'nowhere'",
        "got 'tumour'; is 'tumor' meant?",
        "patient P1 is in the splits test and train",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("nearest", "advice"), [("tumr", "; is --class tumor meant?"), ("krebs", "")]
)
def test_a_mistyped_class_is_told_of_instead_of_every_slide(folder, nearest, advice):
    table = write(folder, "path,label\na.svs,tumor\nb.svs,tumor\nc d.svs,Normal\n")
    with pytest.raises(CohortError) as raised:
        read_cohort(table, class_names=("normal", nearest), class_option="--class")
    assert str(raised.value) == (
        f"{table}: 1 problem(s):\n  - no slide has the label '{nearest}' that --class "
        "asks for; the column 'label' holds Normal (1 slide), tumor (2 slides)" + advice
    )


def test_a_mistyped_label_is_told_of_by_its_line(folder):
    table = write(folder, "path,label\na.svs,tumor\nb.svs,tumr\nc d.svs,normal\n")
    with pytest.raises(CohortError, match=r"line 3 \(b\): .* got 'tumr'; is"):
        read_cohort(table, class_names=("normal", "tumor"), class_option="--class")


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "path,status",
            "a.svs,Tumor",
            "needs a column 'label' with the class of every slide (normal, tumor); it "
            "has path, status; rename 'status', which holds classes, to 'label'",
        ),
        ("path,labeling", "a.svs,x", "rename 'labeling' to 'label'"),
        ("path,age", "a.svs,7", "it has path, age; add it, a class a slide"),
        ("path,category", "a.svs,", "1 have none, such as a; label them"),
    ],
)
def test_what_lacks_a_label_is_told_with_what_to_do(folder, header, row, message):
    cohort = read_cohort(write(folder, f"{header}\n{row}\n"))
    with pytest.raises(CohortError) as raised:
        require_labels(cohort, cohort.table, ("normal", "tumor"), remedy="label them")
    assert str(raised.value).startswith(f"{cohort.path}: ")
    assert message in str(raised.value)


def test_slides_whose_patients_nobody_named_are_told_of(folder):
    def say(text):
        return say_unknown_patients(read_cohort(write(folder, text)))

    assert "has no column patient_id" in say("path\na.svs\nb.svs\n")
    assert say("path\na.svs\n") is None
    # Somebody may well name each slide's patient after it.
    assert say("path,patient\na.svs,a\nb.svs,b\n") is None
    assert say("path,case_id\na.svs,P\nb.svs,P\n") is None


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("path,label\na.svs,TUMOR\nb.svs,\n", "label", ["tumor", None]),
        ("path,split\na.svs,Training\nb.svs,validation\n", "split", ["train", "val"]),
        # A delimiter at the end of a row is no field, an odd line end no row.
        ("path,label\na.svs,tumor,\n", "label", ["tumor"]),
        (
            "path,note\na.svs,one\u2028two\x0bthree\n",
            "note",
            ["one\u2028two\x0bthree"],
        ),
        ("path\ns3://bucket/S01.svs\n", "path", ["s3://bucket/S01.svs"]),
        ("path\ns3://bucket/S01.svs\n", "slide_id", ["S01"]),
    ],
)
def test_cells_are_understood(folder, text, column, values):
    cohort = read_cohort(write(folder, text), class_names=("normal", "tumor"))
    assert cohort.table[column].tolist() == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a header line and one slide"),
        ("path\n", "a header line and one slide"),
        ("paths,label\na.svs,tumor\n", "is 'paths' meant"),
        ("file name,x\na,b\n", "needs a column 'path'"),
        ("path,path\na.svs,b.svs\n", "path stands twice"),
        ("path\na.svs,b,c\n", "line 2 has more fields"),
        ("path\n.\n", "line 2 .*: path is a folder"),
    ],
)
def test_a_table_of_another_form_is_refused(folder, text, message):
    with pytest.raises(CohortError, match=message):
        read_cohort(write(folder, text))


def test_a_table_that_cannot_be_read_is_an_error(folder):
    with pytest.raises(CohortError, match="no such slide table"):
        read_cohort(folder / "none.csv")
    with pytest.raises(CohortError, match="CSV UTF-8"):
        read_cohort(write(folder, "path\nä.svs", "latin-1"))
    with pytest.raises(CohortError, match="cannot be read"):
        read_cohort(folder)


@pytest.mark.parametrize(
    ("slide_id", "patient"),
    [
        ("TCGA-B0-4710-01Z-00-DX1", "TCGA-B0-4710"),
        ("C3L-00001-21", "C3L-00001"),
        ("C3N-01234", "C3N-01234"),
        ("slide-7", "slide-7"),
    ],
)
def test_patients_of_tcga_and_cptac_ids(slide_id, patient):
    assert find_patient(slide_id) == patient


@pytest.mark.realdata
def test_the_real_cohort_reads(data_folder):
    table = read_cohort(data_folder / "prostate" / "slides.csv").table
    assert len(table) == 29
    assert table["patient_id"].nunique() == 18
    assert table["annotation"].notna().sum() == 16


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


def test_columns_of_other_meaning_are_kept(folder):
    columns = "annotator,age,batch,stain,status"
    table = read_cohort(write(folder, f"path,{columns}\na.svs,v,w,x,y,z\n")).table
    assert table.loc[0, columns.split(",")].tolist() == list("vwxyz")
