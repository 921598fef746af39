"""Processes that may be killed: forked from this one, so that nothing is imported twice, and asked over a pipe."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from liteframe.system.runtime import die_with_parent

_PAGE = os.sysconf("SC_PAGE_SIZE")
_fork = multiprocessing.get_context("fork")


class Gone(Exception):
    """A process gave no answer; the text is its outcome: hang, crash or memory."""


class Killable:
    """A process that calls `prepare(*args)` and then what that returns with each request.

    Args:
        prepare: called in the process.
        args: of `prepare`.
    """

    def __init__(self, prepare: Callable[..., Callable[[Any], Any]], *args: Any) -> None:
        self.connection, theirs = _fork.Pipe()
        self.process = _fork.Process(target=_serve, args=(theirs, prepare, args))
        self.process.start()
        theirs.close()

    def send(self, request: Any) -> None:
        with suppress(BrokenPipeError):  # whoever waits for the answer learns of it
            self.connection.send(request)

    def receive(self) -> Any:
        """The answer that waits in the pipe. Raises Gone where the process died instead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise Gone(f"crash: exit code {self.process.exitcode}") from None

    def ask(self, request: Any, deadline_s: float) -> Any:
        """The answer to a request. Raises Gone (and leaves a dead process) where there is none."""
        self.send(request)
        if not self.connection.poll(deadline_s):
            self.kill()
            raise Gone(f"hang: no answer within {deadline_s:g} s")
        return self.receive()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, prepare: Callable[..., Callable[[Any], Any]], args: tuple[Any, ...]) -> None:
    die_with_parent()
    gc.freeze()  # what the parent left is not this process's to take down: its native threads are not here
    answer = prepare(*args)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            os._exit(0)
        connection.send(answer(request))


def memory_of(process: int) -> int:
    """Bytes that a process and its descendants have in memory."""
    total = 0
    with suppress(OSError, ValueError, IndexError):
        total = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            total += sum(memory_of(int(child)) for child in children.read_text().split())
    return total


def virtual_bytes() -> int:
    """Bytes of address space that this process has taken."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE


class Clock:
    """Time and memory of one request, against limits."""

    def __init__(self, process: int, deadline_s: float, memory_bytes: int) -> None:
        self.process, self.deadline_s, self.memory_bytes = process, deadline_s, memory_bytes
        self.start, self.before = time.monotonic(), memory_of(process)

    def exceeded(self) -> str | None:
        """The outcome that the process has earned by now: hang or memory; None while it is within the limits."""
        if time.monotonic() - self.start > self.deadline_s:
            return f"hang: no answer within {self.deadline_s:g} s"
        grown = memory_of(self.process) - self.before
        return f"memory: grew by {grown / 1e9:.1f} GB" if grown > self.memory_bytes else None
