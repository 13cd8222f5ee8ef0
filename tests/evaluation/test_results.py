from eosin.evaluation import MetricResult


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
