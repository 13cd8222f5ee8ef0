import gzip

import pytest

from eosin.core import CohortError, ManifestError, read_csv_text, say_lines


def write(folder, data):
    path = folder / "a.csv"
    path.write_bytes(data)
    return path


def test_rows_know_their_line_in_the_file(tmp_path):
    path = write(tmp_path, b'a,b\r\n\r\n"x\r\ny",1\r\n\r\n\r\nz\r\n')
    found = read_csv_text(path, CohortError, noun="table")
    assert (found.names, found.lines, found.short) == (["a", "b"], [3, 7], [7])
    assert found.rows == [["x\r\ny", "1"], ["z", ""]]


def test_columns_without_a_name_are_called_by_their_place(tmp_path):
    path = write(tmp_path, b";id;\n0;x;\n")
    found = read_csv_text(path, CohortError, noun="table")
    assert found.names == ["column 1", "id", "column 3"]


def test_a_packed_file_is_read(tmp_path):
    path = write(tmp_path, gzip.compress("a\tb\nä\t1".encode("utf-16")))
    assert read_csv_text(path, CohortError, noun="table").rows == [["ä", "1"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\n1\n2\n3\n", "a table has at most 2 rows"),
        (b"\xff\xfea\x00\x00", "must be UTF-16 text"),
        (b"PAR1....", "is a Parquet file, not a CSV"),
        (b"\x1f\x8bdamaged", "cannot be unpacked"),
        (b'a,b\n"x" y,1\n', "line 2: a field cannot be read"),
    ],
)
def test_what_is_no_such_file_is_told_in_the_callers_error(tmp_path, data, message):
    with pytest.raises(ManifestError, match=message):
        read_csv_text(write(tmp_path, data), ManifestError, noun="table", most=2)


def test_lines_are_said_in_few_words():
    assert say_lines([7]) == "line 7"
    assert say_lines(range(9, 2, -1)) == "lines 3, 4, 5, 6, 7 and 2 more"
