"""The map: tests stand beside what they test, and what is public is what is said."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eosin

SOURCE = Path(eosin.__file__).parent
TESTS = Path(__file__).parent

MODULES = sorted(
    path.relative_to(SOURCE)
    for path in SOURCE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
# Each takes from a tenth of a second to seconds to import.
HEAVY = {"jinja2", "keras", "matplotlib", "pydicom", "scipy", "sklearn", "torch"}
PACKAGES = sorted(
    f"eosin.{info.name}" for info in pkgutil.iter_modules([str(SOURCE)]) if info.ispkg
)


def find_loaded(statement, names):
    """Return which of `names` a fresh Python has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules.keys() & {set(names)})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def order(name):
    """Order as ruff does: constants, classes, the rest; numbers by their value."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    parts = re.split(r"(\d+)", name)
    return kind, [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def test_every_test_has_its_module_or_is_a_journey():
    tested = {TESTS / module.parent / f"test_{module.name}" for module in MODULES}
    places = {path.parent.relative_to(TESTS) for path in tested}
    others = set(TESTS.rglob("test_*.py")) - tested - {Path(__file__)}
    assert {path.parent.relative_to(TESTS) for path in others} <= {
        *places,
        Path("examples"),
    }


@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "eosin.cli"])
def test_a_package_holds_imports_and_what_it_exports(package):
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(getattr(module, "__all__", []))


@pytest.mark.parametrize("package", ["eosin", *PACKAGES])
def test_public_names_are_in_order_and_once(package):
    public = list(getattr(importlib.import_module(package), "__all__", []))
    assert public == sorted(set(public), key=order)


def test_every_public_name_of_eosin_is_found():
    assert dir(eosin) == sorted(eosin.__all__)
    for name in (*eosin.__all__, "__version__"):
        assert getattr(eosin, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        eosin.nonsense  # noqa: B018 - the look-up is what is tested


def test_importing_eosin_loads_nothing_heavy():
    assert find_loaded("import eosin", {*HEAVY, "pandas", "numpy"}) == set()
    assert find_loaded("import numpy", {"numpy"}) == {"numpy"}


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"]])
def test_the_help_loads_no_science(words):
    statement = f"from eosin.cli.main import app; app({words}, standalone_mode=False)"
    names = {*HEAVY, "numpy", "onnxruntime", "pandas"}
    assert find_loaded(statement, names) == set()


def test_steps_begin_without_what_they_may_never_need():
    names = "bags clean evaluate explore fetch import_patches predict tile validate"
    steps = ", ".join(f"eosin.workflows.{name}" for name in names.split())
    assert find_loaded(f"import {steps}", HEAVY) == set()
