"""The Python that the documentation shows runs as it stands there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from eosin.workflows.demo import make_phantom_cohort

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
# As little as shows that it runs; without a network, weights are random ones.
QUICK = {
    'EmbedConfig(encoder="densenet121")': (
        'EmbedConfig(encoder="smallcnn", weights="none")'
    ),
    "folds=5)": "folds=2, epochs=2, n_bootstrap=20)",
}


@pytest.fixture(scope="module")
def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_every_block_compiles(blocks):
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, PAGE.name, "exec")


def test_multiple_instance_learning_runs(blocks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cohort = make_phantom_cohort(tmp_path, n_patients=8, n_new=0, size_px=(1024, 896))
    assert cohort.table == tmp_path / "slides.csv"
    (code,) = (block for block in blocks if "train_mil_study" in block)
    for shown, quick in QUICK.items():
        assert shown in code
        code = code.replace(shown, quick)
    exec(compile(code, PAGE.name, "exec"), {})
    told = capsys.readouterr().out
    assert "'value'" in told
    assert re.search(r"slide-01 \(\d+, \d+\) \[\[", told)
    assert "AUCPlan(n_positive=64" in told
    table = pd.read_csv(tmp_path / "mil_out" / "slides.csv")
    assert len(table) == 8
