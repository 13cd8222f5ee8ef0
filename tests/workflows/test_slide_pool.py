import threading
import time

import pytest

from eosin.core import RunError, SlideError, Task, open_run
from eosin.workflows.slide_pool import map_slides


class CountingTask(Task):
    def __init__(self):
        self.notes = []

    def advance(self, n=1, note=""):
        self.notes.extend([note] * n)


def test_results_come_with_their_ids_and_failures_are_recorded(tmp_path):
    def work(value):
        if value == 2:
            raise SlideError("two is damaged")
        return value * 10

    task = CountingTask()
    items = [("a", 1), ("b", 2), ("c", 3)]
    with open_run(tmp_path, "tile", settings={}) as record:
        results = dict(map_slides(work, items, record=record, task=task, workers=2))
    assert results == {"a": 10, "c": 30}
    assert [(f.slide_id, f.step, f.message) for f in record.failures] == [
        ("b", "tile", "two is damaged")
    ]
    assert sorted(task.notes) == ["a", "b failed", "c"]


def test_an_error_without_words_is_recorded_by_its_name(tmp_path):
    def work(_value):
        raise ZeroDivisionError

    with open_run(tmp_path, "tile", settings={}) as record:
        list(map_slides(work, [("a", 1)], record=record, task=Task()))
    assert record.failures[0].message == "ZeroDivisionError"


def test_an_output_that_cannot_be_written_stops_everything(tmp_path):
    def work(_value):
        raise RunError("disk full")

    with (
        pytest.raises(RunError, match="disk full"),
        open_run(tmp_path, "tile", settings={}) as record,
    ):
        list(map_slides(work, [("a", 1)], record=record, task=Task()))


def test_an_interruption_waits_for_a_slide_that_ends_soon_and_for_no_other(tmp_path):
    ended, goes_on = [], threading.Event()

    def work(value):
        if value == "interrupts":
            raise KeyboardInterrupt
        if value == "soon":
            time.sleep(0.2)
        else:
            goes_on.wait(30)
        ended.append(value)

    items = [(name, name) for name in ("soon", "interrupts", "long", "never begun")]
    started = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        open_run(tmp_path, "tile", settings={}) as record,
    ):
        list(map_slides(work, items, record=record, task=Task(), workers=3))
    assert time.monotonic() - started < 10
    assert ended == ["soon"]
    goes_on.set()
