import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eosin.core import ManifestError, RunError, read_parquet, write_parquet

TABLE = pa.table({"a": [1, 2], "b": ["x", None]})


def test_a_table_comes_back_with_what_describes_it(tmp_path):
    # PyArrow by itself would take such a name for a data set of columns.
    path = tmp_path / "a=1" / "täble.parquet"
    write_parquet(path, TABLE, key=b"eosin.made", content='{"é": 1}')
    found = read_parquet(path, "made table")
    assert found.to_pydict() == TABLE.to_pydict()
    assert found.schema.metadata == {b"eosin.made": '{"é": 1}'.encode()}
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError):
        write_parquet(tmp_path / "file" / "t", TABLE, key=b"k", content="")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_missing_or_damaged_is_called_what_it_should_be(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(ManifestError, match="no such made table"):
        read_parquet(path, "made table")
    write_parquet(path, TABLE, key=b"k", content="")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ManifestError, match="cannot be read as a Parquet made table"):
        read_parquet(path, "made table")
    with pytest.raises(ManifestError, match="cannot be read as a Parquet made table"):
        read_parquet(tmp_path, "made table")


def test_the_base_is_imported_without_it():
    code = "import sys, eosin.core; print('pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
