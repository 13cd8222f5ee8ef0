import pandas as pd
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
