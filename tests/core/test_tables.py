import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eosin.core import Column, ManifestError, RunError, TableSchema, read_parquet


@dataclass(frozen=True)
class Info:
    class_names: tuple[str, ...]
    mpp: float | None = None


def find_problems(table, info):
    if table["id"].duplicated().any():
        yield "an id stands in two rows"


SCHEMA = TableSchema(
    noun="made table",
    key="eosin.made",
    info=Info,
    remedy="make it again",
    columns=(
        Column("id", "string", "the row"),
        Column("split", "string", "side", may_be_empty=True, choices=("train", "test")),
        Column("x_px0", "int64", "left edge", "level-0 pixels", least=0),
        Column("label", "int8", "its class", may_be_empty=True),
        Column("<class>_fraction", "float32", "share", "0 to 1", may_be_empty=True),
        Column("score", "float64", "how sure"),
        Column("is_kept", "bool", "whether it is kept"),
        Column("place", "int64", "where", may_be_empty=True, may_lack=True),
    ),
    more=(
        Column("source", "string", "its file"),
        Column("row", "int32", "in the file"),
    ),
    find_problems=find_problems,
)
INFO = Info(("normal", "tumour"), 0.5)


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "split": ["train", None, "test"],
            "x_px0": [0, 7, 2**40],
            "label": pd.array([1, None, 0], "Int8"),
            "normal_fraction": np.array([0.25, np.nan, 1], np.float32),
            "tumour_fraction": [0.75, None, 0],
            "score": [0.1, 1 / 3, 1],
            "is_kept": [True, False, True],
        }
    )


@pytest.fixture
def path(tmp_path):
    # PyArrow by itself would take such a name for a data set of columns.
    return tmp_path / "a=1" / "täble.parquet"


def rewrite(path, arrow=None, **metadata):
    """Change columns of a file, or what its metadata say."""
    stored = pq.read_table(path)
    content = json.loads(stored.schema.metadata[b"eosin.made"]) | metadata
    arrow = stored if arrow is None else arrow(stored)
    described = arrow.replace_schema_metadata({b"eosin.made": json.dumps(content)})
    pq.write_table(described, path)


def test_a_table_comes_back_with_its_types_and_what_describes_it(table, path):
    SCHEMA.write(path, table.assign(more="not of the schema"), INFO)
    read, info = SCHEMA.read(path)
    assert info == INFO
    assert list(read) == [*table, "place"]
    pd.testing.assert_frame_equal(read, SCHEMA.check(table, INFO))
    assert read["score"].tolist() == table["score"].tolist()
    assert read["label"].dtype == "Int8"
    assert read["place"].dtype == "Int64"
    assert read["x_px0"].dtype == np.int64
    assert read["is_kept"].dtype == bool
    assert read["split"].isna().tolist() == [False, True, False]
    file = pq.ParquetFile(path)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    nullable = {field.name for field in file.schema_arrow if field.nullable}
    assert {"id", "x_px0", "score", "is_kept"}.isdisjoint(nullable)
    assert file.schema_arrow.metadata.keys() == {b"eosin.made"}


def test_an_empty_table_keeps_its_types(table, path):
    SCHEMA.write(path, table.iloc[:0], INFO)
    read, _ = SCHEMA.read(path)
    assert len(read) == 0
    assert read.dtypes.equals(SCHEMA.check(table, INFO).dtypes)


def test_columns_that_come_together_are_all_there_or_none(table, path):
    patches = table.assign(source="a.h5", row=np.arange(3))
    SCHEMA.write(path, patches, INFO)
    assert list(SCHEMA.read(path)[0])[-2:] == ["source", "row"]
    with pytest.raises(ManifestError, match=r"the column\(s\) row"):
        SCHEMA.check(table.assign(source="a.h5"), INFO)
    assert "row" not in SCHEMA.check(table.assign(row=1), INFO)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_px0": [0, 0.5, 1]}, "x_px0 must hold int64, row 1 has 0.5"),
        (
            {"x_px0": pd.Series([0, 0.5, 1], dtype=object)},
            "x_px0 must hold int64, row 1 has 0.5",
        ),
        ({"x_px0": [0, 1, "left"]}, "x_px0 must hold int64, row 2 has 'left'"),
        ({"label": [0, 1, 300]}, "label must hold int8, row 2 has 300"),
        ({"score": ["high", 1, 2]}, "score must hold float64, row 0 has 'high'"),
        ({"id": ["a", None, "c"]}, "id must not be empty in row 1"),
        ({"score": [0.5, np.nan, None]}, "score must not be empty in row 1 and 1 more"),
        (
            {"split": ["train", "valid", "x"]},
            "split must be one of train, test, got valid in row 1 and 1 more",
        ),
        ({"x_px0": [1, -1, 0]}, "x_px0 must be 0 or more, got -1 in row 1"),
        ({"id": ["a", "b", "a"]}, "an id stands in two rows"),
        ({"id": ["a", None, "c"], "x_px0": -1}, "id must.* row 1; x_px0 must"),
    ],
)
def test_what_breaks_the_schema_is_named_with_its_row(table, path, changes, message):
    spoilt = table.assign(**changes)
    with pytest.raises(ManifestError, match=f"^here: .*{message}"):
        SCHEMA.check(spoilt, INFO, where="here")
    SCHEMA.write(path, table, INFO)
    with pytest.raises(ManifestError, match=f"{path.name}: .*{message}"):
        SCHEMA.write(path, spoilt, INFO)
    # What was there before stays.
    assert SCHEMA.read(path)[0]["id"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["id", "label", "tumour_fraction"])
def test_a_missing_column_is_named(table, path, name):
    with pytest.raises(ManifestError, match=rf"column\(s\) {name}; it has"):
        SCHEMA.check(table.drop(columns=name), INFO)
    SCHEMA.write(path, table, INFO)
    rewrite(path, lambda arrow: arrow.drop_columns([name]))
    with pytest.raises(ManifestError, match=rf"{path.name}: .*column\(s\) {name}"):
        SCHEMA.read(path)


def test_types_of_other_writers_are_read_where_nothing_is_lost(table, path):
    SCHEMA.write(path, table, INFO)
    for name, kind in (("id", pa.large_string()), ("x_px0", pa.float64())):
        rewrite(
            path,
            lambda t, n=name, k=kind: t.set_column(
                t.column_names.index(n), n, t[n].cast(k)
            ),
        )
    assert SCHEMA.read(path)[0].equals(SCHEMA.check(table, INFO))
    half = pa.array([0, 0.5, 1])
    rewrite(path, lambda arrow: arrow.set_column(2, "x_px0", half))
    with pytest.raises(ManifestError, match=r"x_px0 must hold int64, row 1 has 0\.5"):
        SCHEMA.read(path)


def test_a_table_is_written_whole_or_not_at_all(table, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError):
        SCHEMA.write(tmp_path / "file" / "t", table, INFO)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_no_such_table_says_so(table, path, tmp_path):
    with pytest.raises(ManifestError, match="no such made table"):
        SCHEMA.read(path)
    SCHEMA.write(path, table, INFO)
    path.write_bytes(path.read_bytes()[:-20])
    for place in (path, tmp_path):
        with pytest.raises(ManifestError, match="cannot be read as a Parquet made"):
            SCHEMA.read(place)
    table.to_parquet(path)
    with pytest.raises(ManifestError, match=r"no made table: .*'eosin.made'"):
        SCHEMA.read(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": 9}, "has format 9, this version of eosin reads 1; make it again"),
        ({"unknown": 1}, "metadata are damaged .*; make it again"),
        ({"class_names": None}, "metadata are damaged"),
    ],
)
def test_foreign_metadata_are_refused(table, path, metadata, message):
    SCHEMA.write(path, table, INFO)
    rewrite(path, **metadata)
    with pytest.raises(ManifestError, match=message):
        SCHEMA.read(path)


def test_the_documentation_has_a_row_for_each_column():
    lines = SCHEMA.to_markdown().splitlines()
    assert len(lines) == 2 + len(SCHEMA.columns) + len(SCHEMA.more)
    assert "| `x_px0` | int64 | level-0 pixels | left edge |" in lines
    assert "| `<class>_fraction` | float32 | 0 to 1 | share; may be empty |" in lines


def test_the_base_is_imported_without_pyarrow():
    code = "import sys, eosin.core; print('pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        # Equal values in a row are stored once, and so are texts in many rows.
        ({"a": pa.array(np.zeros(3_000_000, np.int8))}, "says 3,000,000 rows"),
        (
            {
                "a": pa.DictionaryArray.from_arrays(
                    pa.array(np.zeros(2_000, np.int32)), ["x" * 2_000_000]
                )
            },
            "texts of 4,000,000,000 bytes",
        ),
        ({"a": ["x" * 200_000_000]}, "says 1 rows, 200,"),
        ({"a": [[1, 2]]}, "columns within columns: a"),
        ({"a": [{"b": 1}]}, "columns within columns: a"),
    ],
)
def test_tables_that_are_far_more_than_their_files_are_refused(
    tmp_path, columns, message
):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(ManifestError, match=rf"a.parquet: cannot be read .*{message}"):
        SCHEMA.read(path)


def test_texts_of_many_rows_are_read_as_they_are(tmp_path):
    names = [f"slide-{i // 100}-{i}" for i in range(20_000)]
    given = pa.table({"a": names, "b": ["train", None] * 10_000})
    pq.write_table(given, tmp_path / "a.parquet", row_group_size=15_000)
    assert read_parquet(tmp_path / "a.parquet").equals(given)


def test_damage_anywhere_names_the_file(table, path):
    SCHEMA.write(path, table, INFO)
    content = path.read_bytes()
    length = b"\xff\xff\xff\x7fPAR1"
    for spoiled in (content[:-1], content[:40], content[:-8] + length, b"", length):
        path.write_bytes(spoiled)
        with pytest.raises(ManifestError, match=path.name):
            SCHEMA.read(path)
