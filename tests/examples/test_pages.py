"""What the documentation says is as the code is."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from eosin import settings
from eosin.cli.main import app
from eosin.cli.options import spread_values

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path.relative_to(ROOT) for path in [ROOT / "README.md", *DOCS.rglob("*.md")]
)
# What somebody reads who wants to get something done; the rest is looked up.
LOOKED_UP = {"architecture", "formats", "glossary", "messages", "performance"}
HOW_TO = [p for p in PAGES if p.parent == Path("docs") and p.stem not in LOOKED_UP]
LONGEST = 400


def find_blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def iter_commands():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        lines = [
            line
            for block in find_blocks(page, "sh")
            for line in block.replace("\\\n", " ").splitlines()
        ]
        lines += re.findall(r"(?m)^    (eosin .*)$", text)
        lines += re.findall(r"`(eosin [a-z][^`]*)`", text)
        for line in lines:
            words = shlex.split(line, comments=True)
            if words[:1] == ["eosin"] and len(words) > 1:
                yield page, tuple(words[1:])


@pytest.mark.parametrize(
    ("page", "words"),
    [pytest.param(p, w, id=f"{p}:{' '.join(w)}") for p, w in iter_commands()],
)
def test_commands_and_their_options_are_there(page, words):
    command = app.get_command(click.Context(app), words[0])
    assert command is not None
    known = {name for option in command.params for name in option.opts}
    for word in spread_values([word.strip("[]") for word in words[1:]]):
        if word.startswith("-") and not word.lstrip("-").isdigit():
            assert word.partition("=")[0] in known | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_settings_that_are_named_are_there(page):
    kinds = [kind for kind in vars(settings).values() if isinstance(kind, type)]
    known = {
        name
        for kind in kinds
        if issubclass(kind, settings.Settings)
        for name in settings.list_defaults(kind)
    }
    named = re.findall(r"--set (\w+)=", (ROOT / page).read_text(encoding="utf-8"))
    assert set(named) - {"field"} <= known


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_compiles_and_imports_what_there_is(page):
    for block in find_blocks(page, "python"):
        compile(block, str(page), "exec")
        for home, names in re.findall(
            r"(?m)^from (eosin[\w.]*) import ([\w, ]+)$", block
        ):
            module = importlib.import_module(home)
            assert all(hasattr(module, name) for name in names.split(", "))
        eosin = importlib.import_module("eosin")
        for name in re.findall(r"\beosin\.([a-zA-Z]\w*)\(", block):
            assert name in dir(eosin)


@pytest.mark.parametrize("page", HOW_TO, ids=str)
def test_a_page_for_doing_is_short(page):
    assert len((ROOT / page).read_text(encoding="utf-8").split()) <= LONGEST


def test_tables_are_those_of_the_code():
    script = [sys.executable, ROOT / "scripts" / "docs_tables", "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_pictures_are_small():
    pictures = sorted((DOCS / "images").iterdir())
    assert pictures
    assert max(path.stat().st_size for path in pictures) < 300_000
