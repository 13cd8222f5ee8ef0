"""Tables as Parquet files, with what describes them in the file's metadata."""

from pathlib import Path
from typing import TYPE_CHECKING

from eosin.core.errors import ManifestError
from eosin.core.files import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, kind: str) -> "pa.Table":
    """Read a Parquet file whole.

    Args:
        path: The file.
        kind: What it must be, for messages, such as `tile table`.

    Raises:
        ManifestError: It is missing or cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415  commands that read no table need it not
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        # A stream, because PyArrow takes a plain string for a URI or a data set.
        with Path(path).open("rb") as stream:
            return pq.read_table(stream)
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: no such {kind}") from error
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path}: cannot be read as a Parquet {kind} ({error})"
        ) from error


def write_parquet(path: Path, table: "pa.Table", *, key: bytes, content: str) -> None:
    """Write a Parquet file, whole or not at all.

    Args:
        path: The file.
        table: Its rows.
        key: Under which name the file's metadata hold `content`, and nothing else.
        content: What describes the table.

    Raises:
        RunError: The file cannot be written.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  as above

    described = table.replace_schema_metadata({key: content.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(described, temporary, compression="zstd")
