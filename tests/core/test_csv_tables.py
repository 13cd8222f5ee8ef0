import csv
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.core import (
    ManifestError,
    RunError,
    caution_formulas,
    read_csv,
    write_csv,
)

# OWASP, "CSV Injection": what a spreadsheet takes for a formula, by its first sign.
FORMULAS = [
    "=1+1",
    "@SUM(1)",
    "+cmd|' /C calc'!A0",
    "-2+3|cmd",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    '=HYPERLINK("http://x","y")',
]
TEXTS = [
    "a\r=1",
    "S1",
    "-0.5",
    "+12",
    "1e5",
    "-",
    "'quoted'",
    "'=1",
    "''-x",
    "a=1",
    "",
    "0012",
]


def read_cells(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("kind", ["object", "str", "category"])
def test_no_cell_is_a_formula_and_all_come_back(tmp_path, kind):
    names = [*FORMULAS, *TEXTS]
    table = pd.DataFrame({"id": pd.Series(names, dtype=kind), "=x": range(len(names))})
    write_csv(tmp_path / "a.csv", table)
    cells = read_cells(tmp_path / "a.csv")
    assert cells[0] == ["id", "'=x"]
    for name, (cell, _) in zip(names, cells[1:], strict=True):
        assert cell == (f"'{name}" if name in (*FORMULAS, "'=1", "''-x") else name)
    found = read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert found["id"].tolist() == names
    assert list(found) == ["id", "=x"]
    # What is given stays as it was.
    assert table["id"].tolist() == names


@given(st.lists(st.text("='-+@1a\t\uff1d"), min_size=1))
def test_any_text_comes_back_and_none_begins_like_a_formula(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("texts") / "a.csv"
    table = pd.DataFrame({"id": pd.Series(names, dtype="object"), "n": 0})
    write_csv(path, table)
    found = read_csv(path, dtype=str, keep_default_na=False)
    assert found["id"].tolist() == names
    for cell, _ in read_cells(path)[1:]:
        is_number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", cell)
        if cell[:1] in set("=+-@\t\uff1d") and not is_number:
            # Signs by themselves compute nothing.
            assert not set(cell) & set("1a'")


def test_numbers_and_sound_tables_are_written_as_pandas_writes_them(tmp_path):
    table = pd.DataFrame(
        {
            "slide_id": ["S1", "S2"],
            "score": [-0.5, np.nan],
            "n": pd.array([-3, None], "Int64"),
            "mixed": [-1.5, "x"],
            "empty": [None, "-0.25"],
        }
    )
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == table.to_csv(index=False)
    write_csv(tmp_path / "b.csv", table, float_format="%.3g")
    assert "-0.5," in (tmp_path / "b.csv").read_text()
    write_csv(tmp_path / "c.csv", pd.DataFrame({"id": ["=1+1"]}), is_exact=True)
    assert (tmp_path / "c.csv").read_text() == "id\n=1+1\n"


def test_a_damaged_table_is_told_by_name(tmp_path):
    path = tmp_path / "a.csv"
    for content in (b"a\n1,2,3\n1\n1,2,3,4,5\n", b"\xff\xfe\x00", b""):
        path.write_bytes(content)
        with pytest.raises(ManifestError, match=r"a\.csv: cannot be read as a table"):
            read_csv(path)
    with pytest.raises(RunError, match="none"):
        read_csv(tmp_path / "none.csv", kind=RunError)


def test_names_that_are_written_otherwise_are_told():
    assert caution_formulas(["S1", "-0.5"], ["neg", "pos"]) == ()
    (said,) = caution_formulas(["=1+1", "S1", "=1+1"], ["@x"])
    assert said.startswith("2 names begin as a formula does, such as =1+1, @x:")
