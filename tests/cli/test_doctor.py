from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.workflows import doctor
from eosin.workflows.doctor import Finding


def test_the_machine_is_examined():
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert "OpenSlide" in done.output


def test_something_missing_gives_exit_code_1(monkeypatch):
    missing = [Finding("OpenSlide", "missing", "not here")]
    monkeypatch.setattr(doctor, "examine_machine", lambda _folder: missing)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "not here" in done.output
