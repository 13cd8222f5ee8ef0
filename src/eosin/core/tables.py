"""Tables as Parquet files, each declared once as a `TableSchema`.

From the declaration come the check on reading and on writing, what the file says of
itself, and the table of columns in the documentation.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from eosin.core.errors import ManifestError, raising
from eosin.core.files import atomic_path, require_regular
from eosin.core.plain import from_plain

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Info = TypeVar("Info")
Kind = Literal["string", "bool", "int8", "int32", "int64", "float32", "float64"]

_CLASS = "<class>"
# Tables shrink to a tenth, of many equal rows to a hundredth.
_MOST_TIMES, _PLAIN_BYTES, _FEW_ROWS = 200, 1 << 26, 1 << 16
# A name of 100 bytes in each of ten million rows.
_MOST_TEXT_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name; `<class>` in it stands for the name of each class in turn.
        kind: Type of its values.
        meaning: What it holds, for the documentation.
        unit: Of the numbers, or what they are counted in.
        may_be_empty: Whether a row may have no value.
        may_lack: Whether a table without the column is given an empty one.
        choices: The values that there are; empty for any.
        least: The smallest number that there is; None for any.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    may_be_empty: bool = False
    may_lack: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None


@dataclass(frozen=True, kw_only=True)
class TableSchema(Generic[Info]):
    """What a kind of table holds, and how it is checked, read and written.

    In pandas whole numbers that may be empty are of a nullable type, an empty text and
    an empty number with a fraction are NaN.

    Attributes:
        noun: What messages call it, such as `tile table`.
        key: Where the file's metadata hold what is the same for all rows.
        info: The dataclass of that; it has the `class_names`.
        remedy: What to do about a file that cannot be read.
        columns: In their order.
        more: Columns behind them that are there together or not at all.
        find_problems: Yields what is wrong with a table beyond its single columns.
        version: Of the format; files of another one are refused.
    """

    noun: str
    key: str
    info: Callable[..., Info]
    remedy: str
    columns: tuple[Column, ...]
    more: tuple[Column, ...] = ()
    find_problems: Callable[["pd.DataFrame", Info], Iterator[str]] | None = None
    version: int = 1

    def list_columns(self, info: Info, *, has_more: bool = False) -> dict[str, Column]:
        """Return every column by its name in a table of these classes."""
        columns = (*self.columns, *(self.more if has_more else ()))
        names: tuple[str, ...] = info.class_names  # type: ignore[attr-defined]
        return {
            column.name.replace(_CLASS, name): column
            for column in columns
            for name in (names if _CLASS in column.name else names[:1])
        }

    def check(
        self, table: "pd.DataFrame", info: Info, *, where: str | Path = ""
    ) -> "pd.DataFrame":
        """Return exactly the columns of the schema, in its order and types.

        Columns that the schema does not know are left out. Every problem is listed in a
        `ManifestError`, which calls the table `where`, such as its path.
        """
        return self._check(
            {name: table[name] for name in table}, info, where or self.noun
        )[1]

    def write(self, path: Path, table: "pd.DataFrame", info: Info) -> None:
        """Write a table that holds to the schema, whole or not at all."""
        import pyarrow.parquet as pq  # noqa: PLC0415  see `_check`

        arrow, _ = self._check({name: table[name] for name in table}, info, path)
        content = {"format": self.version, **asdict(info)}  # type: ignore[call-overload]
        described = arrow.replace_schema_metadata({self.key: json.dumps(content)})
        with atomic_path(path) as temporary:
            pq.write_table(described, temporary, compression="zstd")

    def read(self, path: Path) -> tuple["pd.DataFrame", Info]:
        """Read a table, and what is the same for all of its rows.

        A file that is missing, another table, of another version, or breaks the schema
        is a `ManifestError`.
        """
        path = Path(path)
        if not path.exists():
            raise ManifestError(f"{path}: no such {self.noun}")
        failure = f"{path}: cannot be read as a Parquet {self.noun}"
        with raising(ManifestError, failure, remedy=self.remedy):
            arrow = read_parquet(path)
            info = self._read_info(path, arrow.schema.metadata or {})
            columns = dict(zip(arrow.column_names, arrow.columns, strict=True))
            return self._check(columns, info, path)[1], info

    def to_markdown(self) -> str:
        """Write the columns as the rows of a Markdown table, for the documentation."""
        rows = ["| Column | Type | Unit | What it holds |", "|---|---|---|---|"]
        for column in (*self.columns, *self.more):
            meaning = column.meaning + ("; may be empty" * column.may_be_empty)
            kind = "text" if column.kind == "string" else column.kind
            rows.append(f"| `{column.name}` | {kind} | {column.unit} | {meaning} |")
        return "\n".join(rows)

    def _read_info(self, path: Path, metadata: Mapping[bytes, bytes]) -> Info:
        if (text := metadata.get(self.key.encode())) is None:
            raise ManifestError(
                f"{path}: is a Parquet table, but no {self.noun}: its metadata have no "
                f"'{self.key}'"
            )
        failure = f"{path}: its metadata are damaged"
        with raising(ManifestError, failure, remedy=self.remedy):
            content = json.loads(text)
            if (version := content.pop("format")) == self.version:
                info: Info = from_plain(content, self.info)
                self.list_columns(info)
                return info
        raise ManifestError(
            f"{path}: has format {version}, this version of eosin reads "
            f"{self.version}; {self.remedy}"
        )

    def _check(
        self, given: Mapping[Any, Any], info: Info, where: str | Path
    ) -> tuple["pa.Table", "pd.DataFrame"]:
        """Bring columns of pandas or Arrow to their types, and check their values."""
        # Commands that read no table need neither, and pandas takes half a second.
        import pandas as pd  # noqa: PLC0415
        import pyarrow as pa  # noqa: PLC0415

        has_more = any(column.name in given for column in self.more[:1])
        columns = self.list_columns(info, has_more=has_more)
        lacking = [name for name, column in columns.items() if not column.may_lack]
        if missing := [name for name in lacking if name not in given]:
            raise ManifestError(
                f"{where}: a {self.noun} must have the column(s) {', '.join(missing)}; "
                f"it has {', '.join(map(str, given))}"
            )
        n_rows = len(next(iter(given.values())))
        arrays, table = [], {}
        problems: list[str] = []
        for name, column in columns.items():
            values = given.get(name, pd.Series(None, range(n_rows), object))
            arrays.append(_to_arrow(name, column, values, where))
            table[name] = _to_pandas(column, arrays[-1])
            problems += _find_wrong_values(name, column, table[name])
        frame = pd.DataFrame(table)
        if self.find_problems and not problems:
            problems += self.find_problems(frame, info)
        if problems:
            raise ManifestError(f"{where}: {'; '.join(problems)}")
        fields = [
            pa.field(name, array.type, nullable=columns[name].may_be_empty)
            for name, array in zip(table, arrays, strict=True)
        ]
        return pa.table(arrays, schema=pa.schema(fields)), frame


def read_parquet(path: Path) -> "pa.Table":
    """Read a Parquet file of flat columns, whose footer is held against its size first.

    Every row of a table of eosin's has a name or a place of its own, so that a table
    has no more rows than bytes, whatever is squeezed.

    Raises:
        ValueError: It says more than it can hold, or has columns within columns.
            PyArrow raises others.
    """
    import pyarrow as pa  # noqa: PLC0415  as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    require_regular(path)
    size = Path(path).stat().st_size
    # A stream, because PyArrow takes a plain string for a URI or a data set.
    with Path(path).open("rb") as stream:
        footer = pq.read_metadata(stream)
        n_bytes, texts = _measure_columns(footer)
        n_rows = footer.num_rows
        if n_rows > max(size, _FEW_ROWS) or n_bytes > _MOST_TIMES * size + _PLAIN_BYTES:
            raise ValueError(
                f"says {n_rows:,} rows, {n_bytes:,} bytes, and has {size:,} bytes"
            )
        stream.seek(0)
        table = pq.ParquetFile(stream, read_dictionary=texts).read()
    if nested := [f.name for f in table.schema if pa.types.is_nested(f.type)]:
        raise ValueError(f"has columns within columns: {', '.join(nested)}")
    for name in texts:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, _write_out(table[name]))
    return table


def _measure_columns(footer: Any) -> tuple[int, list[str]]:
    """Say how many bytes a file says that it has, and which texts may be far more.

    A text that stands in many rows is stored once.
    """
    n_bytes, texts = 0, set()
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            n_bytes += column.total_uncompressed_size
            most = column.total_uncompressed_size * column.num_values
            if column.physical_type == "BYTE_ARRAY" and most > _PLAIN_BYTES:
                texts.add(column.path_in_schema)
    return n_bytes, sorted(texts)


def _write_out(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Write texts out in every row, unless that is too much."""
    import pyarrow as pa  # noqa: PLC0415  as above
    import pyarrow.compute as pc  # noqa: PLC0415

    lengths = [
        pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    ]
    if sum(lengths) > _MOST_TEXT_BYTES:
        raise ValueError(f"says texts of {sum(lengths):,} bytes in one column")
    return column.cast(pa.string())


def _to_arrow(name: str, column: Column, values: Any, where: str | Path) -> Any:
    """Convert a column; NaN and None become empty, and no digit is lost."""
    import pyarrow as pa  # noqa: PLC0415  as above

    kind = pa.type_for_alias(column.kind)
    errors = (pa.ArrowException, TypeError, ValueError, OverflowError)
    try:
        if not isinstance(values, pa.ChunkedArray):
            # In two steps: asked for whole numbers at once, PyArrow cuts off 0.5.
            text = values.astype("string") if column.kind == "string" else values
            values = pa.array(text, from_pandas=True)
        return values.cast(kind)
    except errors as error:
        rows = values.to_pylist() if hasattr(values, "to_pylist") else values
        for row, value in enumerate(rows):
            try:
                pa.array([value], from_pandas=True).cast(kind)
            except errors:
                raise ManifestError(
                    f"{where}: column {name} must hold {column.kind}, row {row} has "
                    f"{value!r}"
                ) from error
        raise ManifestError(
            f"{where}: column {name} must hold {column.kind} ({error})"
        ) from error


def _to_pandas(column: Column, array: Any) -> "pd.Series":
    """Convert a column; whole numbers that may be empty keep their type."""
    if column.may_be_empty and column.kind.startswith("int"):
        import pandas as pd  # noqa: PLC0415  as above

        dtype: Any = pd.api.types.pandas_dtype(column.kind.capitalize())
        return pd.Series(dtype.__from_arrow__(array))
    return array.to_pandas().rename(None)  # type: ignore[no-any-return]


def _find_wrong_values(name: str, column: Column, values: "pd.Series") -> Iterator[str]:
    """Yield what is wrong with a column, with the first row that has it."""
    checks = []
    is_empty = values.isna()
    if not column.may_be_empty:
        checks.append((is_empty, "must not be empty"))
    if column.choices:
        text = f"must be one of {', '.join(column.choices)}"
        checks.append((~is_empty & ~values.isin(column.choices), text))
    if column.least is not None:
        is_small = (values < column.least).fillna(False)  # noqa: FBT003  a value
        checks.append((is_small, f"must be {column.least:g} or more"))
    for is_wrong, text in checks:
        if n := int(is_wrong.sum()):
            row = int(is_wrong.to_numpy(bool).argmax())
            got = "" if is_empty.iloc[row] else f", got {values.iloc[row]}"
            others = f" and {n - 1:,} more" if n > 1 else ""
            yield f"{name} {text}{got} in row {row}{others}"
