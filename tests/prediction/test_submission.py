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


def test_everything_wrong_with_the_ids_is_counted_and_shown(tmp_path):
    plan = make_plan(tmp_path, *"abcdefgh")
    with pytest.raises(CohortError) as caught:
        write_submission(plan, ["a", "a", "z", "y", "x"], np.zeros(5))
    text = str(caught.value)
    assert "7 of 8 ids of" in text
    assert "have no prediction (b, c, d, e, f and 2 more)" in text
    assert "3 patches are not in" in text
    assert "(x, y, z)" in text
    assert "1 ids have more than one patch (a)" in text
    assert not list(tmp_path.iterdir())


def test_an_older_submission_stays_when_a_new_one_is_wrong(tmp_path):
    plan = make_plan(tmp_path, "a", "b")
    plan.path.write_text("older")
    with pytest.raises(CohortError):
        write_submission(plan, ["a"], np.zeros(1))
    assert plan.path.read_text() == "older"


@pytest.fixture
def data_set(tmp_path):
    for name in ("b.tif", "a.tif", ".hidden.tif", "notes.txt"):
        path = tmp_path / "set" / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "set"


def test_without_a_sample_the_test_folder_says_the_ids(data_set, tmp_path):
    for folder in (data_set, data_set / "test"):
        plan = plan_submission(tmp_path / "s.csv", None, folder)
        assert plan.ids == ("a", "b")
        assert plan.source == data_set / "test"


@pytest.mark.parametrize("folder", ["", "test"])
def test_a_sample_in_the_data_set_is_found(data_set, folder, tmp_path):
    (data_set / "sample_submission.csv").write_text("id,label\nb,0\nq,0\n")
    plan = plan_submission(tmp_path / "s.csv", None, data_set / folder)
    assert plan.ids == ("b", "q")
    assert plan.source == data_set / "sample_submission.csv"


def test_a_sample_that_is_given_comes_first(data_set, tmp_path):
    (data_set / "sample_submission.csv").write_text("id,label\nb,0\n")
    # As Kaggle's Windows users save it.
    (tmp_path / "own.csv").write_bytes(b"\xef\xbb\xbfID,label\r\nz,0\r\n")
    plan = plan_submission(tmp_path / "s.csv", tmp_path / "own.csv", data_set)
    assert plan.ids == ("z",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\na,0\nb,0\na,0\n", r"1 ids stand there more than once \(a\)"),
        ("id,label\n", "there are none"),
        ("id,label\na,0\n,0\n", "1 are empty"),
        ("name,label\na,0\n", "needs a column 'id'"),
    ],
)
def test_a_sample_that_says_nothing_clear_is_refused(tmp_path, text, message):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(CohortError, match=message):
        plan_submission(tmp_path / "s.csv", tmp_path / "own.csv", tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(CohortError, match="there are none"):
        plan_submission(tmp_path / "s.csv", None, tmp_path)


def test_sixty_thousand_ids_are_put_in_order(tmp_path):
    ids = [f"{i:040x}" for i in range(60_000)]
    plan = make_plan(tmp_path, *ids)
    write_submission(plan, ids[::-1], np.arange(60_000) / 60_000)
    table = pd.read_csv(plan.path, dtype={"id": str})
    assert table["id"].tolist() == ids
    assert table["label"].iloc[0] == 59_999 / 60_000
