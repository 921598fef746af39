"""SIGTERM and Ctrl-C as requests to stop: noted at once, obeyed where work can be kept, enforced after a while.

Python runs signal handlers between two instructions of the main thread, so not while that waits in a collective or in a
decoder. The bytes that the interpreter writes for each signal wake a thread here that does not depend on it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SAVE_AFTER_S = 12.0
"""Seconds after SIGTERM at which another thread saves, where the main thread has not come to the end of a step."""
END_AFTER_S = 24.0
"""Seconds after SIGTERM at which the process ends, whatever it waits for; 30 s is what schedulers commonly grant."""
_IDLE_END_S = 8.0
_SECOND_CTRL_C_S = 3.0
_TICK_S = 0.25
_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """The run ends because a signal asked it to; the code is 128 + the signal's number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopSignals:
    """Takes SIGTERM and SIGINT of this process while it is entered; in the main thread only, elsewhere it does nothing.

    Attributes:
        heard: number of the first signal, which the exit code tells; None while there was none.
        requested: number of the signal that asked for the end of what defers it; None while none has.
        deferring: something looks at `requested` often and stops by itself. Otherwise the first signal raises:
            KeyboardInterrupt for Ctrl-C, `Stopped` for SIGTERM.
        obeyed: what was deferred has stopped, and the process is on its way out.
        save: called once in a thread of its own, `SAVE_AFTER_S` after a SIGTERM that nothing has obeyed yet.
        last_words: a line for stderr before the process is ended by force.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self.requested: int | None = None
        self._taken = False
        self.deferring = self.obeyed = False
        self.save: Callable[[], None] | None = None
        self.last_words: Callable[[], str] = lambda: ""
        self._before: dict[int, Any] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._old_wakeup = -1

    def __enter__(self) -> StopSignals:
        global current
        if threading.current_thread() is not threading.main_thread():
            return self
        current = self
        self._before = {number: signal.getsignal(number) for number in _NUMBERS}
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(self._ends[1].fileno(), warn_on_full_buffer=False)
        self.claim()
        threading.Thread(target=self._watch, args=(self._ends[0],), daemon=True, name="liteframe-signals").start()
        return self

    def __exit__(self, *_: object) -> None:
        global current
        if self._ends is None:
            return
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for end in self._ends:
            end.close()
        self._ends, current = None, None

    def claim(self) -> None:
        """Takes the signals again from a library that has put its own handlers there."""
        if self._ends is not None:
            for number in _NUMBERS:
                signal.signal(number, self._note)

    def end_as(self, number: int) -> None:
        """Ends this process as signal `number` would, by force where the main thread does not come to it."""
        self.heard = self.heard or number
        os.kill(os.getpid(), signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._taken = True
        self.heard = self.heard or number
        if not self.deferring:
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped(self.heard)
        if self.requested == signal.SIGINT and number == signal.SIGINT:
            self.deferring = False
            say(self.last_words())
            raise Stopped(number)
        self.request(number)

    def request(self, number: int) -> None:
        """Asks for the end as signal `number` would."""
        if self.requested is None:
            self.requested = number
            again = "; Ctrl-C again to stop at once" if number == signal.SIGINT else ""
            say(f"{signal.Signals(number).name}: stopping after this step{again}")

    def _watch(self, wake: socket.socket) -> None:
        since: float | None = None
        presses, insisted, saved = 0, False, False
        while self._ends is not None:
            for number in _received(wake):
                if number not in _NUMBERS:
                    continue
                self.heard = self.heard or number
                presses += number == signal.SIGINT
                if number == signal.SIGTERM and not insisted:
                    since, insisted = time.monotonic(), True
                elif number == signal.SIGINT and presses == 2:
                    soon = time.monotonic() - END_AFTER_S + _SECOND_CTRL_C_S
                    since, insisted = min(since or soon, soon), True
                elif number == signal.SIGINT and since is None and not self.deferring:
                    since = time.monotonic()
            if not insisted and self.requested == signal.SIGTERM:  # asked for by another rank
                since, insisted = time.monotonic(), True
            waited = 0.0 if since is None else time.monotonic() - since
            if waited > SAVE_AFTER_S and not (saved or self.obeyed) and self.save is not None:
                saved = True
                threading.Thread(target=self.save, daemon=True).start()
            stuck = insisted or not self._taken  # one KeyboardInterrupt may take its time on its way out
            if stuck and waited > (END_AFTER_S if self.deferring or self.obeyed else min(_IDLE_END_S, END_AFTER_S)):
                self._end_by_force(self.heard or signal.SIGTERM)
            time.sleep(_TICK_S)

    def _end_by_force(self, number: int) -> None:
        if not self.obeyed:
            say(f"{signal.Signals(number).name}: ended while it was waiting. {self.last_words()}")
        sys.stdout.flush()
        os._exit(128 + number)


current: StopSignals | None = None
"""The one that has the signals of this process now."""


def say(text: str) -> None:
    """A line on stderr, also from a thread while the main one is stuck."""
    if text.strip():
        print(f"liteframe: {text.strip()}", file=sys.stderr, flush=True)


def _received(wake: socket.socket) -> bytes:
    try:
        return wake.recv(64)
    except (BlockingIOError, OSError):
        return b""


def _leave_to_parent() -> None:
    """In a forked child: its signals are its own, and must not be written to the parent's socket."""
    global current
    if current is not None and current._ends is not None:
        signal.set_wakeup_fd(-1)
        for number in _NUMBERS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for end in current._ends:
            end.close()
    current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
