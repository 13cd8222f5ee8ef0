"""The map: every module has its test, and what is public is what is said."""

import ast
import importlib
import pkgutil
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
PACKAGES = sorted(
    f"eosin.{info.name}" for info in pkgutil.iter_modules([str(SOURCE)]) if info.ispkg
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_twin(module):
    assert (TESTS / module.parent / f"test_{module.name}").exists()


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


def test_every_public_name_of_eosin_is_found():
    for name in eosin.__all__:
        assert getattr(eosin, name) is not None
        assert name in dir(eosin)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        eosin.nonsense  # noqa: B018 - the look-up is what is tested


def test_importing_eosin_loads_nothing_heavy():
    code = (
        "import sys, eosin;"
        "names = {'keras', 'torch', 'matplotlib', 'pandas', 'numpy'};"
        "heavy = names & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
