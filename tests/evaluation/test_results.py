import pytest

from eosin.evaluation import MetricResult, format_ends


def test_a_metric_in_json_has_a_reason_only_when_something_is_missing():
    whole = MetricResult(0.9, 0.8, 0.95, n=12, n_defined=1000)
    assert whole.to_json() == {
        "value": 0.9,
        "low": 0.8,
        "high": 0.95,
        "n": 12,
        "resamples": 1000,
    }
    missing = MetricResult(0.9, None, None, n=12, n_defined=3, reason="one patient")
    assert missing.to_json()["low"] is None
    assert missing.to_json()["reason"] == "one patient"


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0.8, 0.95, ("0.80", "0.95")),
        (0.996, 1.0, ("0.996", "1.000")),
        (0.99996, 1.0, None),
        (1.0, 1.0, None),
        (None, None, None),
    ],
)
def test_an_interval_is_given_only_where_its_ends_can_be_told_apart(low, high, ends):
    assert format_ends(low, high) == ends
