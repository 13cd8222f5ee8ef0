import pytest
from typer.testing import CliRunner

from eosin.cli.evaluate import _format
from eosin.cli.main import app


def test_a_folder_without_a_model_is_an_error(tmp_path):
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path)])
    assert done.exit_code == 1
    assert "card.json" in str(done.exception)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"value": 0.91234, "low": 0.8, "high": 0.95}, "0.912 (0.80-0.95)"),
        ({"value": 0.5, "low": None, "high": None}, "0.500"),
        ({"value": None}, "-"),
    ],
)
def test_metrics_are_shown_with_their_interval(metric, text):
    assert _format(metric) == text
