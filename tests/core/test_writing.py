"""Nothing is written but whole, under a name that every system allows."""

import ast
import re
from pathlib import Path

import pytest

import eosin

SOURCE = Path(eosin.__file__).parent

# Methods and functions that write, whatever they are called with.
WRITERS = {
    *("to_csv", "to_excel", "to_feather", "to_hdf", "to_json", "to_parquet"),
    *("to_pickle", "to_orc", "to_stata", "to_xml", "write_bytes", "write_text"),
    *(
        "save",
        "savefig",
        "savetxt",
        "savez",
        "savez_compressed",
        "tofile",
        "save_model",
    ),
    *("imsave", "imwrite", "TiffWriter", "ParquetWriter", "write_table", "new_file"),
    *("dump", "symlink_to", "hardlink_to", "touch", "copyfile", "copy2", "copytree"),
    *("move", "urlretrieve", "extractall", "to_file", "write_feather"),
}
# Those that write where their mode says so.
OPENERS = {"open", "fdopen", "File", "ZipFile", "TarFile", "GzipFile", "open_memmap"}
WRITING_MODE = re.compile(r"(?=.*[wax+])[rwaxbtU+]{1,4}|r\+|readwrite|write")
# CSV goes through `write_csv` alone, which leaves no formula in a cell.
ALWAYS = {"to_csv"}
# What is `save`d by itself, with `write_json` or `atomic_path`.
OWN = {"record", "self.record", "self._record", "self", "training"}

EXCEPTIONS = {
    "core/csv_tables.py": "is what writes",
    "cohorts/unpacking.py": "is given a temporary path by its caller",
    "slides/pack_writing.py": "is given a temporary path by `pack_tiles`",
    "cohorts/downloading.py": "a part grows until its checksum is right",
    "inference/store.py": "a memory map is filled in place, and says what is done",
    "inference/encoding.py": "the same",
}


def name_call(call):
    function = call.func
    return (
        function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
    )


def is_writing(call):
    """Whether a call writes a file, by its name and its mode."""
    name = name_call(call)
    if name == "save" and isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value) not in OWN
    if isinstance(call.func, ast.Attribute) and name in WRITERS:
        # Without a place, a text is returned.
        return bool(call.args or call.keywords) or name == "touch"
    if name in WRITERS & {"TiffWriter", "ParquetWriter", "copyfile", "imwrite", "move"}:
        return True
    if name not in OPENERS:
        return False
    values = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [
        part.value
        for value in values
        for part in ast.walk(value)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return any(WRITING_MODE.fullmatch(mode) for mode in modes)


def find_buffers(function):
    """Find the names that hold bytes in memory."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.NamedExpr) and re.fullmatch(
            r"io\.(BytesIO|StringIO)\(\)", ast.unparse(node.value)
        ):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield ast.unparse(target)


def find_writes(text):
    """Find the lines that write to a place which `atomic_path` did not give."""

    def visit(node, is_atomic, buffers):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            # What is called later is not within the block.
            is_atomic, buffers = False, {*buffers, *find_buffers(node)}
        if isinstance(node, ast.With):
            items = [
                name_call(i.context_expr)
                for i in node.items
                if isinstance(i.context_expr, ast.Call)
            ]
            is_atomic = is_atomic or "atomic_path" in items
        if isinstance(node, ast.Call) and is_writing(node):
            into = ast.unparse(node.args[0]) if node.args else ""
            into = into.partition(" := ")[0].strip("(")
            if into not in buffers and (not is_atomic or name_call(node) in ALWAYS):
                yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, is_atomic, buffers)

    return sorted(set(visit(ast.parse(text), False, set())))


@pytest.mark.parametrize(
    "line",
    [
        'table.to_csv("a.csv")',
        'table.to_parquet(out / "a.parquet")',
        "path.write_text(text)",
        "np.save(path, values)",
        'h5py.File(path, "w")',
        'path.open("ab")',
        'open(path, mode="x")',
        'open(path, "w" if new else "a")',
        'gzip.open(path, "wt")',
        "Image.fromarray(pixels).save(path)",
        "shutil.copyfile(one, two)",
        "with atomic_path(a) as b:\n    table.to_csv(b)",
        "with atomic_path(a) as b:\n    def f():\n        b.write_text('')",
        'np.lib.format.open_memmap(path, mode="w+")',
    ],
)
def test_a_bare_write_is_seen(line):
    assert find_writes(line)


@pytest.mark.parametrize(
    "line",
    [
        "write_csv(path, table)",
        "with atomic_path(a) as b, h5py.File(b, 'w') as file:\n    np.save(b, x)",
        'path.open("rb")',
        "Image.open(path)",
        "def f():\n    buffer = io.BytesIO()\n    image.save(buffer, 'JPEG')",
        'record.save("running")',
    ],
)
def test_what_writes_whole_files_or_none_is_let_through(line):
    assert not find_writes(line)


def test_every_file_is_written_whole_under_an_allowed_name():
    found = {
        path.relative_to(SOURCE).as_posix(): lines
        for path in sorted(SOURCE.rglob("*.py"))
        if (lines := find_writes(path.read_text(encoding="utf-8")))
    }
    assert {name: n for name, n in found.items() if name not in EXCEPTIONS} == {}
    # No exception outlives what it is for.
    assert set(EXCEPTIONS) <= set(found)
