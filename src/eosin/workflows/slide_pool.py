"""Working on many slides at once, where one bad slide stops nothing."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from typing import TypeVar

from eosin.core import RunError, RunRecord, SlideFailure, Task

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds that slides in work may take to end after an interruption.
_GRACE_S = 1.0


def map_slides(
    work: Callable[[Item], Result],
    items: Sequence[tuple[str, Item]],
    *,
    record: RunRecord,
    task: Task,
    workers: int = 1,
) -> Iterator[tuple[str, Result]]:
    """Apply `work` to each slide on threads; yields results as they come.

    A slide whose work raises is recorded in `record.failures`, and the others go
    on. An output that cannot be written stops everything, since it would stop
    every slide.

    Args:
        work: Called with one item, on any thread.
        items: (slide_id, item) pairs.
        record: Takes the failures.
        task: Advanced by one for each slide.
        workers: How many slides are worked on at once.

    Raises:
        RunError: An output cannot be written.
    """
    executor = ThreadPoolExecutor(max(1, workers), thread_name_prefix="slide")
    futures: dict[Future[Result], str] = {
        executor.submit(work, item): slide_id for slide_id, item in items
    }
    waits = True
    try:
        for future in as_completed(futures):
            slide_id = futures[future]
            try:
                result = future.result()
            except RunError:
                raise
            except Exception as error:  # noqa: BLE001 - the one place; it is recorded
                message = str(error) or type(error).__name__
                record.failures.append(SlideFailure(slide_id, record.command, message))
                task.advance(note=f"{slide_id} failed")
            else:
                task.advance(note=slide_id)
                yield slide_id, result
    except KeyboardInterrupt:
        # Whoever interrupts does not want to wait for a slide in the middle; one
        # that is about to be written may be.
        waits = False
        executor.shutdown(wait=False, cancel_futures=True)
        wait([f for f in futures if not f.cancelled()], timeout=_GRACE_S)
        raise
    finally:
        executor.shutdown(wait=waits, cancel_futures=True)
