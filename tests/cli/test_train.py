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
