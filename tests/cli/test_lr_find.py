import dataclasses
import tomllib

from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.workflows import find_lr


def run(*arguments):
    done = CliRunner().invoke(app, ["lr-find", *map(str, arguments)])
    return done, " ".join(done.output.split())


def test_rates_are_suggested_with_their_rule_and_source(tile_folder, tmp_path):
    out = tmp_path / "rates"
    done, text = run(
        tile_folder, "-o", out, "--encoder", "smallcnn", "--weights", "none",
        "--fine-tune", "last", "--set", "n_steps=30", "--set", "cached_views=1",
        "--set", "epochs=2", "--set", "batch=32",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "learning_rate: " in text
    assert "tune_learning_rate: " in text
    assert "falls fastest" in text
    assert "Smith" in text
    assert f"--config {out / 'suggested.toml'}" in text
    assert "tune_learning_rate" in tomllib.loads((out / "suggested.toml").read_text())
    assert (out / "curve.png").exists()


def test_where_nothing_falls_that_is_said(tile_folder, tmp_path, monkeypatch):
    real = find_lr.find_head_curve

    def find_flat(*arguments, **options):
        return dataclasses.replace(real(*arguments, **options), steepest=None)

    monkeypatch.setattr(find_lr, "find_head_curve", find_flat)
    done, text = run(
        tile_folder, "-o", tmp_path / "rates", "--encoder", "smallcnn",
        "--weights", "none", "--fine-tune", "none", "--set", "n_steps=10",
        "--set", "cached_views=1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "learning_rate: nothing can be suggested: the loss did not fall" in text


def test_a_folder_without_tiles_is_an_error(tmp_path):
    done, _ = run(tmp_path, "-o", tmp_path / "rates")
    assert done.exit_code == 1
    assert "'eosin tile' has finished" in str(done.exception)


def test_an_unknown_setting_is_an_error(tmp_path):
    done, _ = run(tmp_path, "-o", tmp_path / "rates", "--set", "speed=1")
    assert "unknown setting: speed" in str(done.exception)
