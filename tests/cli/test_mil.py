import pytest
from typer.testing import CliRunner

from eosin.cli import main
from eosin.core import ConfigError
from eosin.evaluation import plan_auc


def run(*words):
    return CliRunner().invoke(main.app, ["mil", *words])


def test_a_plan_is_told_in_words():
    done = run("plan", "--patients", "160", "--prevalence", "0.4")
    found = plan_auc(160, 0.4)
    assert done.exit_code == 0
    assert "64 patients with the finding, 96 without" in done.output
    assert f"{found.low:.2f} to {found.high:.2f}" in " ".join(done.output.split())
    assert f"{found.least_auc:.2f} or more can be told from chance" in " ".join(
        done.output.split()
    )


def test_a_plan_of_too_few_patients_says_so():
    done = run("plan", "--patients", "5", "--prevalence", "0.4", "--auc", "0.97")
    assert "no AUC can be told from a rival" in " ".join(done.output.split())
    assert isinstance(
        run("plan", "--patients", "5", "--prevalence", "0.1").exception, ConfigError
    )


@pytest.mark.parametrize("command", ["plan"])
def test_every_step_has_help_with_an_example(command):
    text = " ".join(run(command, "--help").output.split())
    assert f"Example: eosin mil {command}" in text
