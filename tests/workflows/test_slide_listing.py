import pandas as pd
import pytest

from eosin.core import CohortError
from eosin.workflows.slide_listing import iter_rows, list_files


def test_a_folder_gives_its_slides_by_name_without_hidden_files(tmp_path):
    for name in ("b.svs", "a.TIF", ".hidden.svs", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_files(tmp_path)] == ["a.TIF", "b.svs"]


def test_a_file_stands_for_itself_even_if_it_is_missing(tmp_path):
    assert list_files(tmp_path / "x.svs") == [tmp_path / "x.svs"]


def test_a_folder_without_slides_is_an_error(tmp_path):
    with pytest.raises(CohortError, match="no slide in this folder"):
        list_files(tmp_path)


def test_rows_are_values_by_column_name():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, dtype="object")
    assert list(iter_rows(table)) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
