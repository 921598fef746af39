"""Tasks that wait for others, several at a time, with their results as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any


def as_they_come(tasks: Iterable[Callable[[], Any]], most: int, stop: Callable[[], None]) -> Iterator[tuple[int, Any]]:
    """Runs `tasks` in at most `most` threads, one alone in the caller's; yields (index, result) as they are done.

    Args:
        tasks: taken as there is a thread for them.
        most: threads.
        stop: called where the caller goes on no more; the tasks that run then end soon.
    """
    upcoming = enumerate(tasks)
    workers = min(most, len(tasks)) if isinstance(tasks, Sized) else most
    if workers <= 1:
        for index, task in upcoming:
            yield index, task()
        return
    with ThreadPoolExecutor(workers, "liteframe-decode") as threads:
        pending: dict[Future[Any], int] = {}
        try:
            while True:
                for index, task in islice(upcoming, workers - len(pending)):
                    pending[threads.submit(task)] = index
                if not pending:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        except BaseException:
            stop()
            raise


def in_order(tasks: Iterable[Callable[[], Any]], most: int, stop: Callable[[], None]) -> Iterator[Any]:
    """Runs `tasks` in `most` threads and yields their results in order, at most `2 * most` behind the tasks begun.

    Arguments are those of `as_they_come`.
    """
    upcoming = iter(tasks)
    with ThreadPoolExecutor(most, "liteframe-decode") as threads:
        pending: deque[Future[Any]] = deque()
        try:
            while True:
                pending.extend(map(threads.submit, islice(upcoming, 2 * most - len(pending))))
                if not pending:
                    return
                yield pending.popleft().result()
        except BaseException:
            stop()
            raise
