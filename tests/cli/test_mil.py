import numpy as np
import pytest
from typer.testing import CliRunner

from eosin.bags import FeatureInfo, write_features
from eosin.cli import main
from eosin.core import ConfigError
from eosin.evaluation import plan_auc


def run(*words):
    return CliRunner().invoke(main.app, ["mil", *words])


def test_a_plan_is_told_in_words():
    done = run("plan", "--patients", "160", "--prevalence", "0.4")
    found = plan_auc(160, 0.4)
    assert done.exit_code == 0
    assert "64 patients with the finding, 96 without" in done.output
    assert f"{found.low:.2f} to {found.high:.2f}" in " ".join(done.output.split())
    assert f"{found.least_auc:.2f} or more can be told from chance" in " ".join(
        done.output.split()
    )


def test_a_plan_of_too_few_patients_says_so():
    done = run("plan", "--patients", "5", "--prevalence", "0.4", "--auc", "0.97")
    assert "no AUC can be told from a rival" in " ".join(done.output.split())
    assert isinstance(
        run("plan", "--patients", "5", "--prevalence", "0.1").exception, ConfigError
    )


@pytest.mark.parametrize("command", ["plan", "train"])
def test_every_step_has_help_with_an_example(command):
    text = " ".join(run(command, "--help").output.split())
    assert f"Example: eosin mil {command}" in text


def test_a_study_is_trained_and_told(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "f").mkdir()
    lines = ["slide_id,patient_id,label"]
    for i in range(8):
        features = rng.normal(size=(5, 3)).astype(np.float32) + 2 * (i % 2)
        info = FeatureInfo(slide_id=f"S{i}", encoder="e", tile_px=8, mpp=1, size_px0=8)
        path = tmp_path / "f" / f"S{i}.h5"
        write_features(path, features, np.zeros((5, 2), np.int64), info)
        lines.append(f"S{i},P{i},{('normal', 'tumor')[i % 2]}")
    (tmp_path / "slides.csv").write_text("\n".join(lines))
    words = [str(tmp_path / "f"), str(tmp_path / "slides.csv"), "-o"]
    words += [str(tmp_path / "run"), "--class", "normal", "--class", "tumor"]
    words += ["--aggregator", "mean", "--folds", "3", "--set", "epochs=2"]
    done = run("train", *words, "--set", "n_bootstrap=20")
    assert done.exit_code == 0, done.output
    assert "slide    ROC AUC" in done.output
    assert "n = 8" in done.output
    assert (tmp_path / "run" / "metrics.json").exists()
