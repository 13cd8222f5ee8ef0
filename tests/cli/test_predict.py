import json

from typer.testing import CliRunner

from eosin.cli.main import app


def test_a_folder_without_a_model_is_an_error(tmp_path):
    arguments = ["predict", str(tmp_path), "a.svs", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "eosin train" in str(done.exception)


def test_ctrl_c_ends_prediction_and_the_same_command_finishes_it(
    cohort, run_folder, tmp_path, interrupt, read_results
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    slides = str(cohort.new_slides[0].parent)
    arguments = ["predict", str(run_folder), slides, "--workers", "1", "-o"]
    assert CliRunner().invoke(app, [*arguments, str(whole)]).exit_code == 0
    code, text = interrupt(
        *arguments, out, when=lambda _: any(out.glob("parts/*.json"))
    )
    assert code == 130
    assert "Interrupted. The same command again" in text
    assert "Traceback" not in text
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "slides.csv").exists()
    assert CliRunner().invoke(app, [*arguments, str(out)]).exit_code == 0
    assert read_results(out) == read_results(whole)
