import pandas as pd

from eosin.core import RunRecord, SlideFailure, write_json
from eosin.workflows.earlier_failures import keep_failures


def make_record(folder):
    return RunRecord(folder, "predict", {}, {}, None)


def write_tables(folder, failures, slides):
    pd.DataFrame(
        [{"slide_id": name, "step": "predict", "message": "bad"} for name in failures]
    ).to_csv(folder / "failures.csv", index=False)
    columns = ["slide_id", "patient_id", "status"]
    pd.DataFrame(slides, columns=columns).to_csv(folder / "slides.csv", index=False)


def test_where_no_call_was_before_nothing_is_kept(tmp_path):
    record = make_record(tmp_path)
    assert keep_failures(record, {"A"}) == []
    assert record.failures == []


def test_only_failures_that_are_asked_for_again_go(tmp_path):
    # Ids are text, and the slide 007 is not the slide 7.
    write_tables(
        tmp_path,
        ["007", "A", "B"],
        [("007", "P", "failed"), ("A", "", "failed"), ("B", "Q", "failed")],
    )
    # A call that was killed has scored B since.
    write_json(tmp_path / "parts" / "B.json", {})
    record = make_record(tmp_path)
    rows = keep_failures(record, {"A"})
    assert rows == [{"slide_id": "007", "patient_id": "P", "status": "failed"}]
    assert record.failures == [SlideFailure("007", "predict", "bad")]


def test_a_patients_slides_stay_together(tmp_path):
    write_tables(
        tmp_path,
        ["P"],
        [("S1", "P", "failed"), ("S2", "P", "failed"), ("S3", "Q", "done")],
    )
    record = make_record(tmp_path)
    rows = keep_failures(record, {"Q", "S3"})
    assert [row["slide_id"] for row in rows] == ["S1", "S2"]
    assert [failure.slide_id for failure in record.failures] == ["P"]
