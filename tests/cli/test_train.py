import json

import pandas as pd
from typer.testing import CliRunner

from eosin import models
from eosin.cli.main import app
from eosin.core import ModelError
from eosin.inference import read_card
from eosin.workflows.recipes import RECIPES


def test_a_folder_without_tiles_is_an_error(tmp_path):
    done = CliRunner().invoke(app, ["train", str(tmp_path), "-o", str(tmp_path / "r")])
    assert done.exit_code == 1
    assert "'eosin tile' has finished" in str(done.exception)


def test_an_unknown_encoder_lists_the_known_ones(tmp_path):
    arguments = ["train", str(tmp_path), "-o", "r", "--encoder", "vgg"]
    done = CliRunner().invoke(app, arguments)
    assert "densenet121" in str(done.exception)


def test_ctrl_c_ends_training_and_the_same_command_finishes_it(
    tile_folder, run_folder, tmp_path, interrupt, read_results
):
    out = tmp_path / "run"
    arguments = [
        "train", str(tile_folder), "-o", str(out), "--encoder", "smallcnn",
        "--weights", "none", "--set", "tune_epochs=2",
    ]  # fmt: skip
    checkpoint = out / "state" / "fold_0" / "fine_tune.npz"
    code, text = interrupt(*arguments, when=lambda _: checkpoint.exists())
    assert code == 130
    assert "Interrupted. The same command again" in text
    assert "Traceback" not in text
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "card.json").exists()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found, expected = read_results(out), read_results(run_folder)
    assert found.keys() == expected.keys()
    # A Keras file is a zip, which tells of time.
    assert [n for n in found if found[n] != expected[n]] in ([], ["model.keras"])


def run(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_the_recipes_are_listed_with_their_settings():
    done = run("--list-recipes")
    assert done.exit_code == 0
    text = " ".join(done.output.split())
    for name in RECIPES:
        assert name in text
    assert "encoder = densenet169 or densenet121" in text


def test_a_recipe_fills_in_what_options_leave_open(tile_folder, tmp_path):
    out = tmp_path / "run"
    done = run(
        tile_folder, "-o", out, "--recipe", "mobilenetv2-baseline",
        "--encoder", "smallcnn", "--weights", "none", "--set", "epochs=2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    history = pd.read_csv(out / "history.csv")
    assert list(history["stage"]) == ["head"] * 2
    assert set(history["learning_rate"]) == {1e-3}
    assert read_card(out).recipe == (
        "mobilenetv2-baseline, but for encoder = smallcnn (mobilenetv2), epochs = 2 "
        "(10)"
    )


def test_settings_of_the_loss_are_reached_by_set(tile_folder, tmp_path):
    out = tmp_path / "run"
    done = run(
        tile_folder, "-o", out, "--encoder", "smallcnn", "--weights", "none",
        "--fine-tune", "last", "--set", "epochs=1", "--set", "cached_views=1",
        "--set", "tune_epochs=1", "--set", "mixup=0.2", "--set", "ema_decay=0.9",
        "--set", "layer_decay=0.5", "--set", "balance=slide",
        "--set", "class_weights=1,2", "--set", "snapshots=1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert settings["class_weights"] == [1.0, 2.0]
    assert (settings["mixup"], settings["ema_decay"]) == (0.2, 0.9)
    assert len(list((out / "snapshots").glob("*.onnx"))) == 1


def test_another_encoder_in_a_recipes_place_is_said_aloud(tmp_path, monkeypatch):
    def build(name, **_options):
        if name == "densenet169":
            raise ModelError("no network")

    monkeypatch.setattr(models, "build_encoder", build)
    done = run(tmp_path, "-o", tmp_path / "r", "--recipe", "densenet-onecycle")
    text = " ".join(done.output.split())
    assert "Note: the recipe 'densenet-onecycle' asks for densenet169" in text
    assert "densenet121 is trained in its place: no network" in text


def test_an_unknown_recipe_is_an_error(tmp_path):
    done = run(tmp_path, "-o", tmp_path / "r", "--recipe", "worst")
    assert done.exit_code == 1
    assert "recipe must be one of" in str(done.exception)
