import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from eosin.core import (
    Items,
    Progress,
    RunError,
    RunRecord,
    SlideError,
    Task,
    open_run,
)


@dataclass(frozen=True)
class Number:
    """Something to be worked on."""

    item_id: str
    value: Any = 0
    key: str = "key"

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"slide_id": self.item_id, "status": "failed"}]


class _CountingTask(Task):
    def __init__(self, notes):
        self.notes = notes

    def advance(self, n=1, note=""):
        self.notes.append(note)


class Counting(Progress):
    """Keeps what the task is told."""

    def __init__(self):
        self.notes = []

    @contextmanager
    def task(self, name, total):
        self.notes.append(total)
        yield _CountingTask(self.notes)


def double(item):
    if item.value is None:
        raise SlideError(f"{item.item_id} is damaged")
    return {"rows": [{"slide_id": item.item_id, "value": item.value * 2}]}


def call(folder, *asked, work=double, **options):
    """Work on items as a command does; give its record and the parts of all."""
    with open_run(folder, "tile", settings={}) as record:
        items = Items(record, asked)
        if items.todo:
            record.reopen()
            items.run(work, Progress(), name="Working", **options)
        parts = items.gather()
    return record, parts, items.todo


def test_each_item_leaves_a_part_and_failures_are_recorded(tmp_path):
    progress = Counting()
    asked = [Number("a", 1), Number("b/c", None), Number("d", 3)]
    with open_run(tmp_path, "tile", settings={}) as record:
        items = Items(record, asked)
        items.run(double, progress, name="Working", workers=2)
        parts = items.gather()
    assert [part["rows"][0].get("value") for part in parts] == [2, None, 6]
    assert parts[0]["key"] == "key"
    assert [(f.slide_id, f.step, f.message) for f in record.failures] == [
        ("b/c", "tile", "b/c is damaged")
    ]
    assert sorted(progress.notes[1:]) == ["a", "b/c failed", "d"]
    assert progress.notes[0] == 3
    # Under a name that every system allows.
    assert items.find_part("b/c") == tmp_path / "parts" / "b%2Fc.json"
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "incomplete"


def test_a_second_call_does_what_is_new_was_changed_or_failed(tmp_path):
    call(tmp_path, Number("a", 1), Number("b", 1), Number("c", None))
    (tmp_path / "parts" / "broken.json").write_text("no JSON")
    again = [Number("a", 1), Number("b", 2, "other"), Number("c", 3)]
    record, parts, todo = call(tmp_path, *again, Number("broken", 4))
    assert [item.item_id for item in todo] == ["b", "c", "broken"]
    assert [part["rows"][0]["value"] for part in parts] == [2, 4, 6, 8]
    assert record.failures == []
    record, parts, todo = call(tmp_path, *again, Number("broken", 4))
    assert record.is_done
    assert not todo


def test_what_earlier_calls_found_stays_and_failures_stay_told(tmp_path):
    call(tmp_path, Number("z", None), Number("b", 1), Number("a", 1))
    for _ in range(2):
        record, parts, _ = call(tmp_path, Number("c", 1))
        names = [part["rows"][0]["slide_id"] for part in parts]
        assert names == ["c", "a", "b", "z"]
        assert parts[-1]["rows"] == [{"slide_id": "z", "status": "failed"}]
        assert [failure.message for failure in record.failures] == ["z is damaged"]
    record, _, _ = call(tmp_path, Number("z", 1))
    assert record.failures == []


DAMAGED = (
    "[1]",
    "7",
    '{"key": "key", "rows": [1]}',
    '{"key": "key", "rows": 5}',
    '{"key": "key", "failure": "x"}',
    '{"key": "key", "failure": {"slide": 1}}',
    '{"key": "key", "rows": [{"x": NaN}]}',
    "[" * 100_000,
)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_part_is_made_again_or_told(tmp_path, content):
    call(tmp_path, Number("a", 1), Number("b", 2))
    (tmp_path / "parts" / "a.json").write_text(content)
    with pytest.raises(RunError, match=r"a\.json: .*do"):
        call(tmp_path, Number("b", 2))
    _, parts, todo = call(tmp_path, Number("a", 1))
    assert [item.item_id for item in todo] == ["a"]
    assert [part["rows"][0]["value"] for part in parts] == [2, 4]


def test_ids_that_would_share_a_file_elsewhere_stop(tmp_path):
    with pytest.raises(RunError, match="'s1' and 'S1' would have one file"):
        call(tmp_path, Number("s1"), Number("b"), Number("S1"))


def test_a_part_with_a_key_of_its_own_is_tried_again(tmp_path):
    def half(item):
        return {"key": "", "rows": [{"slide_id": item.item_id}]}

    call(tmp_path, Number("a"), work=half)
    _, _, todo = call(tmp_path, Number("a"))
    assert len(todo) == 1


def test_an_error_without_words_is_recorded_by_its_name(tmp_path):
    def work(_item):
        raise ZeroDivisionError

    record, _, _ = call(tmp_path, Number("a"), work=work)
    assert record.failures[0].message == "ZeroDivisionError"


def test_an_output_that_cannot_be_written_stops_everything(tmp_path):
    def work(_item):
        raise RunError("disk full")

    with pytest.raises(RunError, match="disk full"):
        call(tmp_path, Number("a"), work=work)


def test_an_interruption_waits_for_a_slide_that_ends_soon_and_for_no_other(tmp_path):
    ended, goes_on = [], threading.Event()

    def work(item):
        if item.item_id == "interrupts":
            raise KeyboardInterrupt
        if item.item_id == "soon":
            time.sleep(0.2)
        else:
            goes_on.wait(30)
        ended.append(item.item_id)
        return {}

    names = ("soon", "interrupts", "long", "never begun")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path, *map(Number, names), work=work, workers=3)
    assert time.monotonic() - started < 10
    assert ended == ["soon"]
    goes_on.set()


def test_work_that_is_done_is_only_read(tmp_path):
    call(tmp_path, Number("a", 1))
    items = Items(RunRecord(tmp_path, "tile", {}, {}, None), [Number("a", 1)])
    ((item, part),) = items.read()
    assert (item.item_id, part["rows"][0]["value"]) == ("a", 2)
