from pathlib import Path

from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.workflows import demo
from eosin.workflows.demo import DemoResult


def test_the_demo_says_where_to_look_and_that_its_slides_are_made(
    monkeypatch, tmp_path
):
    given = {}

    def run_demo(out, **options):
        given.update(options, out=out)
        return DemoResult(Path("r.html"), Path("p"), Path("o"))

    monkeypatch.setattr(demo, "run_demo", run_demo)
    done = CliRunner().invoke(app, ["demo", "-o", str(tmp_path), "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert "r.html" in done.output
    assert "made" in done.output
    assert (given["out"], given["seed"], given["weights"]) == (tmp_path, 3, "none")
