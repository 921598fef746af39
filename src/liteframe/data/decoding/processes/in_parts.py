"""Work in parts, done by several of the processes that decode."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.errors import DecodeError, LiteFrameError
from liteframe.system.runtime import usable_cores

Made = TypeVar("Made")

_MOST_PROCESSES = 32
"""What they make is put together by one process, which keeps up with about as many."""
_LEAST_PARTS = 4
"""Of a process, as starting one takes a part of a second."""
_DEADLINE_S = 600.0


def processes_for(parts: int) -> int:
    """How many processes are worth it for so many parts, each the work of a part of a second."""
    return min(usable_cores(), _MOST_PROCESSES, parts // _LEAST_PARTS)


def in_parts(
    name: str,
    function: Callable[..., Made],
    parts: Iterable[tuple[Any, ...]],
    processes: int,
    here: Callable[..., Made] | None = None,
) -> Generator[Made, None, None]:
    """What `function` makes of each part, in order; few parts are ahead.

    Where other processes fail, which is said once on stderr, or fewer than two are wanted, this one does the work.

    Args:
        name: of what is worked on, for messages.
        function: of a module of liteframe.
        parts: the arguments of each call; they are pickled.
        processes: how many work at a time.
        here: what this process calls; by default `function` too.
    """
    here = here or function
    asked: deque[tuple[Any, ...]] = deque()
    upcoming, failed = iter(parts), False

    def calls() -> Iterator[tuple[Any, ...]]:
        for part in upcoming:
            asked.append(part)
            yield name, f"{function.__module__}:{function.__qualname__}", part

    def tell(error: LiteFrameError) -> None:
        what = f"{name} is read by this process, as others that should read parts of it fail"
        print(f"liteframe: warning: {what} ({error})", file=sys.stderr)

    if processes >= 2:
        with DecodePool(processes, _DEADLINE_S) as pool:
            answers = pool.call_in_order(calls())
            while True:
                try:
                    answer = next(answers)
                except StopIteration:
                    break
                except LiteFrameError as error:  # no process can be started, say
                    tell(error)
                    break
                if isinstance(answer, DecodeError) and not failed:
                    tell(answer)
                    failed = True
                part = asked.popleft()
                yield here(*part) if isinstance(answer, DecodeError) else answer
    for part in chain(asked, upcoming):
        yield here(*part)
