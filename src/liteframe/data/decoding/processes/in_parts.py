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

Arguments = TypeVar("Arguments", bound=tuple[Any, ...])
Made = TypeVar("Made")

_MOST_PROCESSES = 32
"""What they make is put together by one process, which keeps up with about as many."""
_LEAST_PARTS = 4
"""For each process, as starting one takes as long as a part."""
_DEADLINE_S = 600.0


def processes_for(parts: int) -> int:
    """How many processes are worth it for so many parts, each the work of a part of a second."""
    return min(usable_cores(), _MOST_PROCESSES, parts // _LEAST_PARTS)


def in_parts(
    work: str, function: Callable[..., Made], parts: Iterable[Arguments], processes: int
) -> Generator[tuple[Arguments, Made | None], None, None]:
    """Each part with what `function` makes of it, in order; few parts are ahead.

    A part comes with None where other processes fail, which is said once on stderr, or where fewer than two are wanted:
    then its work is left to the caller.

    Args:
        work: what is done, for the message.
        function: of a module of liteframe.
        parts: the arguments of each call; they are pickled.
        processes: how many work at a time.
    """
    asked: deque[Arguments] = deque()
    upcoming, told = iter(parts), False

    def calls() -> Iterator[tuple[Any, ...]]:
        for part in upcoming:
            asked.append(part)
            yield work, f"{function.__module__}:{function.__qualname__}", part

    def tell(error: LiteFrameError) -> None:
        nonlocal told
        if not told:
            print(f"liteframe: warning: {work} by this process, as others fail to ({error})", file=sys.stderr)
        told = True

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
                if isinstance(answer, DecodeError):
                    tell(answer)
                yield asked.popleft(), None if isinstance(answer, DecodeError) else answer
    for part in chain(asked, upcoming):
        yield part, None
