import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eosin.bags import FeatureInfo, write_features
from eosin.cli import main
from eosin.core import ConfigError
from eosin.workflows import train_mil_pixels
from eosin.workflows.train_mil import MILStudyResult


def run(*words):
    return CliRunner().invoke(main.app, ["mil", "train", *map(str, words)])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two slides of each of 16 patients, with an age that says it all."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    (root / "f").mkdir()
    rows = []
    for i in range(32):
        features = rng.normal(size=(4, 3)).astype(np.float32)
        info = FeatureInfo(slide_id=f"S{i}", encoder="e", tile_px=8, mpp=1, size_px0=8)
        path = root / "f" / f"S{i}.h5"
        write_features(path, features, np.zeros((4, 2), np.int64), info)
        label = i // 2 % 2
        rows.append(
            (f"S{i}", f"P{i // 2}", ("normal", "tumor")[label], 40 + 30 * label)
        )
    table = pd.DataFrame(rows, columns=["slide_id", "patient_id", "label", "age"])
    table.to_csv(root / "slides.csv", index=False)
    return root


def test_options_reach_the_study(study, tmp_path):
    words = [study / "f", study / "slides.csv", "-o", tmp_path / "run"]
    words += ["--class", "normal", "--class", "tumor", "--by", "patient"]
    words += ["--seeds", "2", "--columns", "age", "--folds", "2"]
    words += ["--choose", "aggregator=mean,max", "--choose", "lr=1e-3,3e-3"]
    words += ["--set", "epochs=2", "--set", "n_bootstrap=20", "--set", "inner_folds=2"]
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "patient  ROC AUC" in done.output
    assert "n = 16" in done.output
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["per"] == "patient"
    assert (settings["n_seeds"], settings["columns"]) == (2, ["age"])
    choices = pd.read_csv(tmp_path / "run" / "choices.csv")
    assert len(choices) == 2 * 4
    assert choices.groupby("fold")["is_chosen"].sum().tolist() == [1, 1]


def test_what_is_wrong_is_said_before_anything_is_read(tmp_path):
    words = ["nothing", "nothing.csv", "-o", tmp_path]
    error = run(*words).exception
    assert isinstance(error, ConfigError)
    assert "two classes or more are needed" in str(error)
    error = run(*words, "--class", "a", "--class", "b", "--by", "tile").exception
    assert "per must be" in str(error)
    error = run(*words, "--encoder", "smallcnn", "--by", "slide").exception
    assert "the bag table says what per would say" in str(error)
    error = run(*words, "--encoder", "x").exception
    assert "encoder must be one of" in str(error)


def test_an_encoder_is_trained_from_pixels(tmp_path, monkeypatch):
    calls = []
    auc = {"value": None, "low": None, "high": None, "n": 2}
    levels = {"slide": {"roc_auc": auc}}

    def train(tiles, bags, config, out, **how):
        calls.append((tiles.name, bags.name, config, how["overwrite"]))
        return MILStudyResult(out, levels, ("Beware.",))

    monkeypatch.setattr(train_mil_pixels, "train_pixel_mil", train)
    words = [tmp_path / "tiles", tmp_path / "bags", "-o", tmp_path / "run"]
    words += ["--encoder", "mobilenetv2", "--aggregator", "max", "--seeds", "2"]
    done = run(*words, "--set", "fine_tune=all", "--overwrite")
    assert done.exit_code == 0, done.output
    ((tiles, bags, config, overwrite),) = calls
    assert (tiles, bags, overwrite) == ("tiles", "bags", True)
    assert (config.encoder, config.aggregator) == ("mobilenetv2", "max")
    assert (config.n_seeds, config.fine_tune) == (2, "all")
    # Drawn bags are neither slides nor patients.
    auc |= {"value": 0.75, "low": 0.5, "high": 0.9, "n": 12}
    levels |= {"patient": levels["slide"]}
    said = run(*words).output
    assert "bag      ROC AUC 0.75" in said
    assert "slide " not in said
    assert "patient" not in said
    # An area that has no meaning is not told.
    assert "ROC AUC" not in done.output
    assert "Caution: Beware." in done.output
