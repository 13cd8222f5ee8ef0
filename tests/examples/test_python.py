"""The Python that the documentation shows runs as it stands there."""

import re
from pathlib import Path

import pandas as pd

from eosin.cohorts import make_phantom_cohort

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
# As little as shows that it runs; without a network, weights are random ones.
QUICK = {
    'EmbedSettings(encoder="densenet121")': (
        'EmbedSettings(encoder="smallcnn", weights="none")'
    ),
    'BagTraining(unit="slide", folds=5)': (
        'BagTraining(encoder="smallcnn", weights="none", folds=2, epochs=2)'
    ),
    '"tumor"), folds=5)': '"tumor"), folds=2, epochs=2)',
    '["new.svs"]': '["slides/new-1.tif"]',
}


def test_multiple_instance_learning_runs(tmp_path, monkeypatch, capsys):
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    make_phantom_cohort(tmp_path, n_patients=8, n_new=1, size_px=(1024, 896))
    codes = [block for block in blocks if "mil_run" in block or "read_bags" in block]
    code = "\n".join(codes)
    for shown, quick in QUICK.items():
        assert shown in code
        code = code.replace(shown, quick)
    exec(compile(code, PAGE.name, "exec"), {})
    told = capsys.readouterr().out
    assert "'value'" in told
    assert re.search(r"slide-01 \(\d+, \d+\)", told)
    assert "AUCPlan(n_positive=64" in told
    table = pd.read_csv(tmp_path / "mil_out" / "slides.csv")
    assert table["slide_id"].tolist() == ["new-1"]
