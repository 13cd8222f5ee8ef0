import numpy as np
import pandas as pd
import pytest

from eosin.core import CohortError
from eosin.prediction.submission import (
    SubmissionPlan,
    plan_submission,
    write_submission,
)


def make_plan(tmp_path, *ids):
    return SubmissionPlan(tmp_path / "submission.csv", ids, tmp_path / "sample.csv")


def test_rows_are_in_the_samples_order_with_the_positive_probability(tmp_path):
    plan = make_plan(tmp_path, "c", "a", "b")
    write_submission(plan, ["a", "b", "c"], np.array([0.25, 0.5, 1.0]))
    assert plan.path.read_text() == "id,label\nc,1.0\na,0.25\nb,0.5\n"
    ids = [f"{i:040x}" for i in range(60_000)]
    plan = make_plan(tmp_path, *ids)
    write_submission(plan, ids[::-1], np.arange(60_000) / 60_000)
    table = pd.read_csv(plan.path, dtype={"id": str})
    assert table["id"].tolist() == ids
    assert table["label"].iloc[0] == 59_999 / 60_000


def test_everything_wrong_with_the_ids_is_told_and_an_older_file_stays(tmp_path):
    plan = make_plan(tmp_path, *"abcdefgh")
    plan.path.write_text("older")
    with pytest.raises(CohortError) as caught:
        write_submission(plan, ["a", "a", "z", "y", "x"], np.zeros(5))
    text = str(caught.value)
    assert "7 of 8 ids of" in text
    assert "have no prediction (b, c, d, e, f and 2 more)" in text
    assert "3 patches are not in" in text
    assert "(x, y, z)" in text
    assert "1 ids have more than one patch (a)" in text
    assert plan.path.read_text() == "older"


@pytest.fixture
def data_set(tmp_path):
    for name in ("b.tif", "a.tif", ".hidden.tif", "notes.txt"):
        path = tmp_path / "set" / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "set"


@pytest.mark.parametrize("name", ["", "test"])
def test_ids_are_those_of_the_nearest_sample_or_of_the_images(data_set, name, tmp_path):
    folder, csv = data_set / name, data_set / "sample_submission.csv"
    plan = plan_submission(tmp_path / "s.csv", None, folder)
    assert (plan.ids, plan.source) == (("a", "b"), data_set / "test")
    csv.write_text("id,label\nb,0\nq,0\n")
    plan = plan_submission(tmp_path / "s.csv", None, folder)
    assert (plan.ids, plan.source) == (("b", "q"), csv)
    # As Kaggle's Windows users save it.
    (tmp_path / "own.csv").write_bytes(b"\xef\xbb\xbfID,label\r\nz,0\r\n")
    plan = plan_submission(tmp_path / "s.csv", tmp_path / "own.csv", folder)
    assert plan.ids == ("z",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,0\nb,0\na,0\n", r"1 ids stand there more than once \(a\)"),
        ("id,label\n", "needs a header line and one row"),
        ("id,label\na,0\n,0\n", "1 are empty"),
        ("name,label\na,0\n", "needs a column 'id'"),
        # A folder without images.
        (None, "there are none"),
    ],
)
def test_a_sample_that_says_nothing_clear_is_refused(tmp_path, text, message):
    sample = None if text is None else tmp_path / "own.csv"
    if sample is not None:
        sample.write_text(text)
    with pytest.raises(CohortError, match=message):
        plan_submission(tmp_path / "s.csv", sample, tmp_path)
