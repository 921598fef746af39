"""Work in other threads that ends when nobody wants its result any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """Nobody wants the result of the work any more."""


class Cancellation:
    """Tells work that nobody wants its result any more; for one piece of work, and from any thread.

    Attributes:
        is_set: it has been told.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self.is_set = False

    def cancel(self) -> None:
        """Has the work end as soon as it can."""
        with self._lock:
            self.is_set = True
            ends = list(self._ends)
        for end in ends:
            end()

    def check(self) -> None:
        """Raises Cancelled where it has been told."""
        if self.is_set:
            raise Cancelled

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Around work that waits: `cancel` calls `end`, after which the work is to fail.

        Args:
            end: called once at most, in the thread that cancels; it must not wait.

        Raises:
            Cancelled: whatever the work raised, it was cancelled.
        """
        with self._lock:
            self.check()
            self._ends.append(end)
        try:
            yield
        except Exception as error:
            if self.is_set:
                raise Cancelled from error
            raise
        finally:
            with self._lock:
                self._ends.remove(end)
