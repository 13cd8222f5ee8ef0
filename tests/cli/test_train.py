import json

from typer.testing import CliRunner

from eosin.cli.main import app


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
