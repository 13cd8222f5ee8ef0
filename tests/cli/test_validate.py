import pandas as pd
import psutil
from typer.testing import CliRunner

from eosin.cli.main import app


def test_slides_are_checked_and_a_bad_one_gives_exit_code_1(cohort, tmp_path):
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"not a slide")
    slides = [str(cohort.new_slides[0]), str(bad)]
    done = CliRunner().invoke(app, ["validate", *slides, "-o", str(tmp_path / "v.csv")])
    assert done.exit_code == 1
    assert "1 of 2 slides cannot be used" in done.output
    assert list(pd.read_csv(tmp_path / "v.csv")["status"]) == ["ok", "error"]


def test_good_slides_give_exit_code_0(cohort):
    done = CliRunner().invoke(app, ["validate", str(cohort.new_slides[0])])
    assert done.exit_code == 0


def test_ctrl_c_ends_validation_with_no_table_and_a_second_call_gives_it(
    cohort, tmp_path, interrupt
):
    # The same slides many times over, so that there is a middle to interrupt.
    slides = [str(cohort.new_slides[0].parent)] * 20
    out, whole = tmp_path / "checked.csv", tmp_path / "whole.csv"

    def has_a_slide_open(process):
        files = psutil.Process(process.pid).open_files()
        return any(file.path.endswith(".tif") for file in files)

    code, text = interrupt("validate", *slides, "-o", out, when=has_a_slide_open)
    assert code == 130
    assert "Interrupted. The same command again" in text
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []
    for path in (out, whole):
        done = CliRunner().invoke(app, ["validate", slides[0], "-o", str(path)])
        assert done.exit_code == 0
    assert out.read_bytes() == whole.read_bytes()
