"""Loader processes: they end with the one that started them, and where one dies the error says what to do."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from liteframe.data.decoding.processes.parent_watch import end_with_parent, leave_group
from liteframe.errors import DataError

_DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", re.DOTALL)


class WorkerStart:
    """What a loader process does first: torch's `worker_init_fn`."""

    def __init__(self) -> None:
        self._parent, self._by_signal = 0, False

    def before_start(self) -> None:
        """To be called by the thread that starts the processes, just before."""
        self._parent = os.getpid()
        self._by_signal = threading.current_thread() is threading.main_thread()

    def __call__(self, worker: int) -> None:
        # Or the garbage collector writes to every object of the main process, which then is copied.
        gc.freeze()
        leave_group()
        end_with_parent(self._parent, self._by_signal)


def named_deaths(batches: Iterable[Any]) -> Iterator[Any]:
    """`batches` of a DataLoader; raises DataError where one of its processes dies."""
    try:
        iterator = iter(batches)
        _NamedDeaths.install()
        yield from iterator
    except RuntimeError as error:
        if (named := _named(error)) is None:
            raise
        raise named from error


class _NamedDeaths:
    """Torch's handler of the signal that a child has ended, which raises wherever the main thread is just then."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self._handler(number, frame)
        except RuntimeError as error:
            if (named := _named(error)) is None:
                raise
            raise named from error

    @classmethod
    def install(cls) -> None:
        """Takes the place of torch's handler, where it has set one."""
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler) and not isinstance(handler, cls):
            signal.signal(signal.SIGCHLD, cls(handler))


def _named(error: RuntimeError) -> DataError | None:
    match = _DEATH.search(str(error))
    if match is None:
        return None
    how = " ".join(match[2].split()).rstrip(". ")
    return DataError(
        f"a loader process (pid {match[1].strip()}) {how}; where memory was short (see dmesg, and /dev/shm for a bus"
        " error), take fewer data.num_workers, or smaller data.batch_size or data.prefetch_factor; a run goes on from"
        " its last checkpoint with --ckpt_path last"
    )
