import numpy as np
import pandas as pd
from typer.testing import CliRunner

from eosin.bags import FeatureInfo, write_features
from eosin.cli import main
from eosin.core import ConfigError
from eosin.tiles import read_manifest


def run(*words):
    return CliRunner().invoke(main.app, ["mil", "limit", *map(str, words)])


def test_help_has_an_example():
    text = " ".join(run("--help").output.split())
    assert "Example: eosin mil limit features/ tiles/" in text


def test_a_study_is_run_and_told(tile_folder, tmp_path):
    table, _ = read_manifest(tile_folder / "tiles.parquet")
    rng = np.random.default_rng(0)
    for slide_id, own in table.groupby("slide_id"):
        is_tumour = (own["label"] == 1).fillna(value=False).to_numpy(float)[:, None]
        features = (rng.normal(size=(len(own), 3)) + 4 * is_tumour).astype(np.float32)
        info = FeatureInfo(
            slide_id=str(slide_id), encoder="e", tile_px=64, mpp=1, size_px0=64
        )
        write_features(
            tmp_path / "f" / f"{slide_id}.h5",
            features,
            own[["x_px0", "y_px0"]].to_numpy(np.int64),
            info,
            tile_ids=own["tile_id"].tolist(),
        )
    words = [tmp_path / "f", tile_folder, "-o", tmp_path / "out"]
    words += ["--bag-size", 6, "--witnesses", "3,1", "--bags", 20, "--seeds", 0]
    words += ["--aggregators", "mean,concat40", "--train-witnesses", "3,mixture"]
    for setting in ("folds=2", "epochs=2", "val_bags=20", "test_bags=20"):
        words += ["--set", setting]
    done = run(*words, "--set", "n_resamples=3", "--set", "resample_bags=10")
    assert done.exit_code == 0, done.output
    assert "concat40" in done.output
    assert "Ceiling of the best bag score" in done.output
    assert "Caution: All positive test bags" in " ".join(done.output.split())
    assert (tmp_path / "out" / "report.html").exists()
    assert len(pd.read_csv(tmp_path / "out" / "cells.csv")) == 2 * 2 * 2


def test_a_wrong_choice_is_named(tile_folder, tmp_path):
    done = run("f", tile_folder, "-o", tmp_path, "--train-witnesses", "all")
    assert isinstance(done.exception, ConfigError)
    assert "numbers or 'mixture', got 'all'" in str(done.exception)
