import json

from typer.testing import CliRunner

from eosin.cli.main import app


def test_a_folder_without_a_model_is_an_error(tmp_path):
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path)])
    assert done.exit_code == 1
    assert "card.json" in str(done.exception)


def test_ctrl_c_ends_evaluation_and_the_same_command_finishes_it(
    run_folder, tmp_path, interrupt, read_results
):
    out = tmp_path / "evaluation"
    arguments = ["evaluate", str(run_folder), "-o", str(out), "--resamples", "400"]
    whole = CliRunner().invoke(app, [*arguments[:3], str(tmp_path / "whole"),
                                     *arguments[4:]])  # fmt: skip
    assert whole.exit_code == 0, whole.output
    code, text = interrupt(
        *arguments, when=lambda _: (out / "predictions.parquet").exists()
    )
    assert code == 130
    assert "Interrupted. The same command again" in text
    assert "Traceback" not in text
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "metrics.json").exists()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert read_results(out) == read_results(tmp_path / "whole")
