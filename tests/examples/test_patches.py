"""The notebook runs from its first cell to its last on the set that it draws."""

import re
from pathlib import Path

import pandas as pd
import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat and nbclient")
nbclient = pytest.importorskip("nbclient", reason="needs nbformat and nbclient")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "patches.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_stored_with_the_outputs_of_its_made_set(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [out for cell in code for out in cell.outputs]
    assert len([out for out in outputs if "image/jpeg" in out.get("data", {})]) >= 8
    assert not [out for out in outputs if out.output_type == "error"]
    # Of whoever made them nothing is told.
    assert not re.search(r"(?<![\w.])/(home|tmp|root|Users|work)/", str(outputs))
    assert NOTEBOOK.stat().st_size < 1_000_000


def test_it_begins_with_the_installation(notebook):
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert re.search(r"%pip install .*\{SOURCE\}\[train\]", first.source)


# What the kernel's own machinery warns of is not ours.
@pytest.mark.filterwarnings("ignore")
def test_it_runs_to_a_submission(notebook, tmp_path, monkeypatch):
    monkeypatch.delenv("EOSIN_PATCHES", raising=False)
    monkeypatch.setenv("EOSIN_WORK", "work")
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=place).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    pictures = [out for out in outputs if "image/jpeg" in out.get("data", {})]
    assert len(pictures) >= 8
    submission = pd.read_csv(tmp_path / "work" / "submission.csv", dtype={"id": str})
    files = (tmp_path / "work" / "made" / "test").iterdir()
    assert submission["id"].tolist() == sorted(path.stem for path in files)
    assert submission["label"].between(0, 1).all()
