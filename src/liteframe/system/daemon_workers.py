"""Threads that work for an event loop, and that do not keep the process from ending."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonWorkers:
    """Daemon threads that take calls in the order in which they come.

    The threads of `concurrent.futures` are waited for when the process ends, which a video may take minutes to decode.
    They stay the same ones, as OpenMP makes a team of threads for each that asks torch for work.

    Args:
        count: of threads.
        name: of theirs.
    """

    def __init__(self, count: int, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        for index in range(count):
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. A call that is cancelled before its turn is not made."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((done, call))
        return await done

    def _work(self) -> None:
        while True:
            done, call = self._calls.get()
            if not done.cancelled():
                _carry_out(done, call)
            del done, call  # or the last video stays until there is another


def _carry_out(done: asyncio.Future[Any], call: Callable[[], Any]) -> None:
    result, failure = None, None
    try:
        result = call()
    except BaseException as error:
        failure = error
    with suppress(RuntimeError):  # the loop has ended
        done.get_loop().call_soon_threadsafe(_settle, done, result, failure)


def _settle(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(result)
    else:
        done.set_exception(failure)
