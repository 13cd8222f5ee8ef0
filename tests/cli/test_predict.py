from typer.testing import CliRunner

from eosin.cli.main import app


def test_a_folder_without_a_model_is_an_error(tmp_path):
    arguments = ["predict", str(tmp_path), "a.svs", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "eosin train" in str(done.exception)
