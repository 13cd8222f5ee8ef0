import re

import pytest

from eosin.cohorts import (
    find_patient,
    read_cohort,
    require_labels,
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path\na.svs\nb.svs\n", "has no column patient_id"),
        ("path,patient\na.svs,\nb.svs,[Unknown]\n", "nothing in its column patient_id"),
        ("path,patient\na.svs,P1\nb.svs,n/a\n", r"for 1 of 2 slides \(b\)"),
        ("path\na.svs\nTCGA-B0-4710-01Z.svs\n", r"for 1 of 2 slides \(a\)"),
        ("path\na.svs\n", None),
        ("path,patient\na.svs,a\nb.svs,b\n", "repeats each slide's id"),
        ("path,patient\na.svs,a\nb.svs,c\n", None),
        ("path,case_id\na.svs,P\nb.svs,P\n", None),
        ("path,patient_id\na.svs,P\nTCGA-B0-4710-01Z.svs,-\n", None),
    ],
)
def test_slides_whose_patients_nobody_named_are_told_of(folder, text, said):
    cautions = read_cohort(write(folder, text)).cautions
    if said is None:
        assert cautions == ()
    else:
        assert re.search(said, cautions[0])


@pytest.mark.parametrize(
    ("one", "other", "patient"),
    [
        ("101", "101.0", "101"),
        ("7,0", "7", "7"),
        ("TCGA-B0-4710", "tcga-b0-4710-01a", "TCGA-B0-4710"),
        ("TCGA_B0_4710_11A", "TCGA\u2013B0\u20134710", "TCGA-B0-4710"),
        ("C3L-00001-21", "c3l-00001", "C3L-00001"),
        ("GTEX-1117F-0126", "gtex-1117f", "GTEX-1117F"),
        ("TARGET-30-PARHAM-01A", "TARGET_30_PARHAM", "TARGET-30-PARHAM"),
        ("P\u22121", "P-1", "P-1"),
        ("\uff301", "P1", "P1"),
        ("P\xa01", "P 1", "P 1"),
        ("Zo\u00eb", "Zoe\u0308", "Zo\u00eb"),
        ("\u200bP1", "P1", "P1"),
    ],
)
def test_ids_that_are_surely_one_patients_are_joined(folder, one, other, patient):
    text = f'path,patient_id\na.svs,"{one}"\nb.svs,"{other}"\nc d.svs,X\n'
    cohort = read_cohort(write(folder, text))
    assert list(cohort.table["patient_id"]) == [patient, patient, "X"]
    (caution,) = cohort.cautions
    assert "1 patient(s) are written in more than one way" in caution


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("P1", "p1"), ("007", "7"), ("P-01", "P1"), ("p_1", "P 001")),
        *(("A.3b", "a-3-B"), ("Patient 7", "pt7"), ("P12", "12"), ("12-345", "12345")),
        *(("TCGAB04710", "TCGA-B0-4710"), ("M\u00fcller", "Muller"), ("\u04211", "C1")),
    ],
)
def test_ids_that_may_be_one_patients_are_asked_about(folder, one, other):
    text = f"path,patient_id\na.svs,{one}\nb.svs,{other}\n"
    with pytest.raises(CohortError) as raised:
        read_cohort(write(folder, text))
    first, second = sorted((one, other))
    assert f"'{first}' and '{second}'; write the id of one person" in str(raised.value)


def test_ids_that_differ_in_more_are_different_patients(folder):
    text = "path,patient_id\na.svs,1-11\nb.svs,11-1\nc d.svs,111\n"
    assert read_cohort(write(folder, text)).table["patient_id"].nunique() == 3


@pytest.mark.parametrize(
    ("header", "rows", "columns"),
    [
        ("path,patient_id,label,class", "P,x,y;Q,y,x", "'label' and 'class'"),
        ("path,patient_id,label,target", "P,x,0;P,x,1", "'label' and 'target'"),
        ("path,patient_id,MRN,label", "P,1,x;Q,1,y", "'patient_id' and 'MRN'"),
    ],
)
def test_other_words_for_label_and_patient_must_agree(folder, header, rows, columns):
    one, other = rows.split(";")
    path = write(folder, f"{header}\na.svs,{one}\nb.svs,{other}\n")
    if "target" in header:
        # As many of these as of those, and not by the same slides.
        path = write(folder, f"{header}\na.svs,{one}\nb.svs,{other}\nc d.svs,R,y,1\n")
    with pytest.raises(CohortError, match=f"{columns} can both be"):
        read_cohort(path)


@pytest.mark.parametrize("header", ["set", "Partition", "fold", "cv_fold_3"])
def test_splits_under_another_name_are_told(folder, header):
    text = f"path,patient_id,{header}\na.svs,P,train\nb.svs,Q,test\n"
    (caution,) = read_cohort(write(folder, text)).cautions
    assert f"'{header}' may hold splits, and is not used" in caution


@pytest.mark.parametrize("number", ["1.23457E+11", "1,2E+05", "2E+10"])
def test_ids_that_a_spreadsheet_rounded_are_refused(folder, number):
    text = f'path,patient_id\na.svs,"{number}"\nb.svs,"{number}"\n'
    with pytest.raises(CohortError, match=r"spreadsheet has rounded: .*E\+"):
        read_cohort(write(folder, text))


def test_a_patient_whom_slide_ids_name_is_not_divided(folder):
    (folder / "TCGA-B0-4710-02Z.svs").write_bytes(b"x")
    text = "path,patient_id\nTCGA-B0-4710-01Z.svs,S1\nTCGA-B0-4710-02Z.svs,S2\n"
    with pytest.raises(CohortError, match=r"slides of TCGA-B0-4710.* \(S1, S2\)"):
        read_cohort(write(folder, text))


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("path,label,Label", "a.svs,x,x b.svs,x,y", "'label' and 'Label' .* line 3"),
        ("path,label,category", "a.svs,x,y b.svs,y,x", "'x' and 'y'"),
        # Slides for patients, where the cases are known.
        ("path,patient_id,case_id", "a.svs,S1,C b.svs,S2,C", "'S2' and 'C'"),
        (
            "path,patient_id,Patient ID",
            "a.svs,P,Q b.svs,Q,P",
            "line 2 with 'P' and 'Q'",
        ),
        ("path,Path", "a.svs,b.svs b.svs,a.svs", "'path' and 'Path'"),
        ("path,filename", "a.svs,b b.svs,b", "line 2 with 'a.svs' and 'b'"),
        ("path,SLIDE_ID,slide_id", "a.svs,A,B b.svs,B,A", "'slide_id' and 'SLIDE_ID'"),
    ],
)
def test_two_columns_of_one_meaning_must_agree(folder, header, rows, said):
    text = "\n".join([header, *rows.split()])
    with pytest.raises(CohortError, match=said):
        read_cohort(write(folder, text))


@pytest.mark.parametrize(
    ("header", "rows", "column", "values"),
    [
        ("path,label,Label", "a.svs,x,X b.svs,y,", "label", "x y"),
        ("path,label,category", "a.svs,x,0 b.svs,y,1", "label", "x y"),
        # Two cases of one patient.
        ("path,patient_id,case_id", "a.svs,P,C1 b.svs,P,C2", "patient_id", "P P"),
        ("path,case_id,patient_id", "a.svs,u1,P1 b.svs,u2,P2", "patient_id", "P1 P2"),
        ("path,filename", "a.svs,A.svs b.svs,b", "slide_id", "a b"),
        ("path,slide_id,slide", "a.svs,A,1 b.svs,B,1", "slide_id", "A B"),
    ],
)
def test_two_columns_that_agree_are_one(folder, header, rows, column, values):
    table = read_cohort(write(folder, "\n".join([header, *rows.split()]))).table
    assert list(table[column]) == values.split()


def test_lines_are_those_of_the_file(folder):
    text = 'sep=,\n\npath,note\n\na.svs,"two\r\nlines"\n\ngone.svs,x\nb.svs\n'
    with pytest.raises(CohortError, match=r"line 8 \(gone\)"):
        read_cohort(write(folder, text))
    text = text.replace("gone", "c d")
    (caution, _) = sorted(read_cohort(write(folder, text)).cautions)
    assert caution.startswith("line 9 of slides.csv are shorter")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(folder, encoding):
    (folder / "ä.svs").write_bytes(b"x")
    table = read_cohort(write(folder, "path\tlabel\nä.svs\tx\n", encoding)).table
    assert list(table["slide_id"]) == ["ä"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,note\na.svs,x\nb.svs," + "x" * 140_000,
            "line 3: a field cannot be read",
        ),
        ('path,note\na.svs,"x\nb.svs,y\n', "line 2: .* is a quotation mark missing"),
        ("path\nsl\0ide.svs\n", "line 2 holds a NUL"),
        ("path\na.svs\n~nobody-here/s.svs\n", "line 3: .* can be no path"),
        (f"path\n{'x' * 5000}.svs\n", "line 2 .*: no such slide file"),
        (f"path\n{'x/' * 5000}.svs\n", "line 2"),
        ("PK\3\4 xl/workbook.xml", "an Excel workbook"),
    ],
)
def test_hostile_cells_are_named(folder, text, message):
    with pytest.raises(CohortError, match=message):
        read_cohort(write(folder, text))


def test_text_of_other_encodings_is_told_by_its_line(folder):
    with pytest.raises(CohortError, match=r"line 3\); save it as 'CSV UTF-8'"):
        read_cohort(write(folder, "path,note\na.svs,x\nb.svs,Zoë\n", "latin-1"))
    with pytest.raises(CohortError, match=r"line 1 holds a NUL.*CSV UTF-8"):
        read_cohort(write(folder, "path\na.svs\n", "utf-16-le"))


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
        ("path,,label,\na.svs,,tumor,\n", "label", ["tumor"]),
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
        ("", "a header line and one row"),
        ("path\n", "a header line and one row"),
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
        ("img_tcga-B0-4710-01Z", "TCGA-B0-4710"),
        ("NOTCGA-B0-4710", "NOTCGA-B0-4710"),
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


def test_a_column_of_patients_that_was_sorted_by_itself_is_refused(tmp_path):
    path = tmp_path / "slides.csv"
    rows = [f"TCGA-AA-000{i}-01Z-00-DX1,TCGA-AA-000{3 - i},neg" for i in (1, 2)]
    path.write_text("\n".join(["slide_id,patient_id,label", *rows]))
    with pytest.raises(
        CohortError, match=r"contradicts the barcode in 2 .*line 2: TCG"
    ):
        read_cohort(path, needs_files=False)
    # Another scheme of names contradicts nothing.
    text = path.read_text()
    path.write_text(text.replace(",TCGA-AA-000", ",Case "))
    table = read_cohort(path, needs_files=False).table
    assert list(table["patient_id"]) == ["Case 2", "Case 1"]
