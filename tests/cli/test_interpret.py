import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.workflows.evaluate import evaluate_run
from eosin.workflows.import_patches import ImportConfig, import_patches
from eosin.workflows.train_tiles import TrainConfig, train_classifier


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    for i in range(60):
        path = root / "set" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.normal(120 + 60 * (i % 2), 20, (32, 32, 3))
        cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))
    import_patches(root / "set", ImportConfig(layout="folder"), root / "tiles")
    config = TrainConfig(encoder="smallcnn", weights="none", tune_epochs=2)
    train_classifier(root / "tiles", config, root / "run")
    evaluate_run(root / "run", n_bootstrap=20)
    return root


def run(*arguments):
    done = CliRunner().invoke(app, ["interpret", *map(str, arguments)])
    return done, " ".join(done.output.split())


def test_an_interpretation_says_what_it_found(study, tmp_path):
    words = ["--method", "gradcam++", "--clusters", 2, "--seed", 3]
    done, text = run(study / "run", study / "tiles", "-o", tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    assert "patches that training held out, the model called" in text
    assert "2 clusters" in text
    assert "Caution: " in text
    assert (tmp_path / "out" / "report.html").exists()


def test_a_tile_that_cannot_be_read_gives_exit_code_1(study, tmp_path):
    import pandas as pd

    splits = pd.read_csv(study / "run" / "splits.csv", dtype=str)
    held_out = splits.loc[splits["split"] == "test", "slide_id"].iloc[0]
    tiles = pd.read_parquet(study / "tiles" / "tiles.parquet")
    source = tiles.loc[tiles["slide_id"] == held_out, "source"].iloc[0]
    path = study / "set" / source
    content = path.read_bytes()
    path.unlink()
    try:
        done, text = run(study / "run", "-o", tmp_path / "out")
    finally:
        path.write_bytes(content)
    assert done.exit_code == 1
    assert "What could not be read" in text
    assert (tmp_path / "out" / "report.html").exists()


def test_an_unknown_method_is_refused(study, tmp_path):
    done, _ = run(study / "run", "-o", tmp_path / "out", "--method", "magic")
    assert "method must be" in str(done.exception)
