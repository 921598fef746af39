"""Deadlines in the time in which this process was let run: one that is stopped for a while (Ctrl-Z, a scheduler that
suspends its jobs) finds none of them passed when it goes on."""

from __future__ import annotations

import math
import os
import threading
import time
import traceback
from collections.abc import Callable

_TICK_S = 1.0
_LATE_S = 1.0
"""By which a look at the clock is late only where the process was not let run."""


class RunningClock:
    """Counts the seconds in which the process was let run, and calls functions when so many of them have passed.

    One thread serves all calls. It looks at the clock every second while any is due, so that it sees in the next one
    how long the process was stopped; when none is left it sleeps.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all, as a forked process must."""
        self._changed = threading.Condition()
        self._due: dict[Call, float] = {}
        self._stopped_s = 0.0
        self._look_by = math.inf
        self._thread: threading.Thread | None = None
        self._asleep = False

    def now(self) -> float:
        """Seconds since some moment; those in which the process was stopped count only where no call was due."""
        with self._changed:
            return self._look() - self._stopped_s

    def _look(self) -> float:
        """The time that all know. A look that comes late, wherever the thread was when the process was stopped, tells
        how long that was."""
        now = time.monotonic()
        if now - self._look_by > _LATE_S:
            self._stopped_s += now - self._look_by
            self._look_by = now
        return now

    def call_later(self, seconds: float, function: Callable[[], None]) -> Call:
        """Calls `function`, which has to be quick, in the clock's thread after that many seconds."""
        call = Call(self, function)
        with self._changed:
            if self._thread is None or self._asleep:
                self._look_by = time.monotonic()
            self._due[call] = self.now() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="liteframe-clock", daemon=True)
                self._thread.start()
            elif self._asleep or seconds < _TICK_S:
                self._changed.notify()
        return call

    def forget(self, call: Call) -> None:
        """What is not called then."""
        with self._changed:
            self._due.pop(call, None)

    def _serve(self) -> None:
        while True:
            for call in self._await_due():
                try:
                    call.function()
                except Exception:  # of one call, which others must not miss theirs for
                    traceback.print_exc()

    def _await_due(self) -> list[Call]:
        with self._changed:
            looked = self._look()
            until = min(self._due.values(), default=math.inf) - (looked - self._stopped_s)
            seconds = max(0.0, min(until, _TICK_S))
            self._look_by = looked + seconds
            woken = self._changed.wait(seconds)
            now = self.now()
            if not woken and not self._due:
                self._sleep()
            late = [call for call, at in self._due.items() if at <= now]
            for call in late:
                del self._due[call]
            return late

    def _sleep(self) -> None:
        self._asleep, self._look_by = True, math.inf
        self._changed.wait()
        self._asleep = False


class Call:
    """What a clock is to call."""

    def __init__(self, clock: RunningClock, function: Callable[[], None]) -> None:
        self._clock, self.function = clock, function

    def cancel(self) -> None:
        """Lets it not be called, unless it is being called already."""
        self._clock.forget(self)


clock = RunningClock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=clock.reset)
