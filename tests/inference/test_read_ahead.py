import threading
import time
from contextlib import closing

import pytest

from eosin.core import find_stop
from eosin.core.work import StoppedError
from eosin.inference.read_ahead import iter_read_ahead


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_every_row_comes_once_and_in_order(ahead, threads):
    batches = list(
        iter_read_ahead(
            lambda rows: rows * 10, range(3, 20), 4, ahead=ahead, threads=threads
        )
    )
    assert [row for rows, _ in batches for row in rows] == list(range(3, 20))
    assert [row for _, tens in batches for row in tens] == list(range(30, 200, 10))
    assert list(iter_read_ahead(lambda rows: rows, range(5, 5), 4)) == []


def test_the_next_batch_is_read_while_one_is_used():
    second = threading.Event()

    def read(rows):
        if rows[0] == 2:
            second.set()
        return rows

    with closing(iter_read_ahead(read, range(6), 2)) as batches:
        next(batches)
        assert second.wait(5)


def test_no_more_than_asked_is_read_ahead():
    begun = []

    def read(rows):
        begun.append(int(rows[0]))
        return rows

    with closing(iter_read_ahead(read, range(100), 1, ahead=2)) as batches:
        next(batches)
    assert len(begun) <= 3


def test_reading_has_ended_once_closed():
    running = threading.Event()
    release = threading.Event()
    ended = []

    def read(rows):
        if rows[0] == 1:
            running.set()
            release.wait(5)
        ended.append(int(rows[0]))
        return rows

    batches = iter_read_ahead(read, range(50), 1, ahead=3)
    next(batches)
    assert running.wait(5)
    release.set()
    batches.close()
    n_ended = len(ended)
    assert not any(t.name.startswith("read-ahead") for t in threading.enumerate())
    assert len(ended) == n_ended < 50


def test_an_error_comes_when_its_batch_is_due():
    def read(rows):
        if rows[0] == 4:
            raise OSError("damaged")
        return rows

    batches = iter_read_ahead(read, range(8), 2)
    assert [int(next(batches)[0][0]) for _ in range(2)] == [0, 2]
    with pytest.raises(OSError, match="damaged"):
        next(batches)


def test_closing_ends_long_work_between_two_steps():
    begun, ended = threading.Event(), []

    def read(rows):
        if rows[0] == 0:
            return rows
        begun.set()
        try:
            for _ in range(30_000):
                find_stop().require_wanted()
                time.sleep(0.001)
        except StoppedError:
            ended.append(int(rows[0]))
            raise
        return rows

    with closing(iter_read_ahead(read, range(6), 2)) as batches:
        next(batches)
        assert begun.wait(5)
    assert ended == [2]
    find_stop().require_wanted()
