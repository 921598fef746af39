"""One decoding process: it dies with its parent, is asked under a deadline, and killed where it comes to a stand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from liteframe.data.decoding.processes.imports import import_path
from liteframe.data.decoding.processes.messages import GOES_ON, PART, receive_timed, send
from liteframe.errors import LiteFrameError
from liteframe.system.running_clock import clock

_START_DEADLINE_S = 120.0
_PAUSES_S = (1.0, 5.0)
"""Waits before a child that did not start is started again; as often as there are waits."""
_PIPE_BYTES = 1 << 20
# `sys` is no file, so nothing is imported before the path is the one that was given.
_PROGRAM = "import sys; sys.path[:] = sys.argv.pop().split({separator!r}); from {module} import main; main()"


class _Spawner:
    """Starts all children from one thread that lives as long as this process.

    Linux sends the "parent died" signal when the starting *thread* ends.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def start(self, command: list[str], environment: dict[str, str], files: tuple[int, ...]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(1, "liteframe-spawner")
            threads = self._threads
        return threads.submit(self._popen, command, environment, files).result()

    @staticmethod
    def _popen(command: list[str], environment: dict[str, str], files: tuple[int, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment, pass_fds=files
        )


_spawner = _Spawner()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_spawner.reset)


class Lost(Exception):
    """A child did not answer.

    Attributes:
        timed_out: it was killed at the deadline; otherwise it died of its own.
        reason: why, in one line.
        idle_s: seconds since it last said that it goes on.
    """

    def __init__(self, timed_out: bool, reason: str, idle_s: float = 0.0) -> None:
        super().__init__(reason)
        self.timed_out, self.reason, self.idle_s = timed_out, reason, idle_s


class _Alarm:
    """Kills a process that says nothing for `deadline_s`, and one that is not done after `most_s()`.

    Seconds in which this process was stopped are not counted. Used as a context manager.
    """

    def __init__(self, process: subprocess.Popen[bytes], deadline_s: float, most_s: Callable[[], float]) -> None:
        self._process, self._late, self._deadline_s, self._ask_most_s = process, threading.Event(), deadline_s, most_s
        self._lock, self._over = threading.Lock(), False
        self._started = self._heard = clock.now()
        self._start()

    def _start(self) -> None:
        self._most_s = self._ask_most_s()
        left = self._most_s - (self._heard - self._started)
        self._call = clock.call_later(max(0.0, min(self._deadline_s, left)), self._ring)

    def renew(self) -> None:
        """Begins the deadline anew, as the process goes on."""
        with self._lock:
            if not self._over and not self.rang:
                self._call.cancel()
                self._heard = clock.now()
                self._start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What passes inside is not of the process's time."""
        with self._lock:
            self._call.cancel()
        began = clock.now()
        yield
        self._started += clock.now() - began
        self.renew()

    @property
    def idle_s(self) -> float:
        """Seconds since the process was last heard of."""
        return clock.now() - self._heard

    def why(self) -> str:
        """Of one that rang."""
        if self._deadline_s <= self._most_s - (self._heard - self._started):
            on_the_way = f", after {self._heard - self._started:.3g} s of work" if self._heard > self._started else ""
            return f"no answer within {self._deadline_s:.4g} s{on_the_way}"
        return f"not done after {self._most_s:.4g} s, though it goes on"

    def _ring(self) -> None:
        with self._lock:
            if not self._over:
                self._late.set()
                self._process.kill()

    @property
    def rang(self) -> bool:
        return self._late.is_set()

    def __enter__(self) -> _Alarm:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # a kill that came too late is seen by `alive`
            self._over = True
            self._call.cancel()


class Child:
    """One decoding process, which is asked once `await_start` has returned.

    Args:
        module: whose `main` it runs.
        files: numbers of open files that it has, too.

    Raises:
        OSError: no process can be started now.
    """

    def __init__(self, module: str = "liteframe.data.decoding.processes.worker", files: tuple[int, ...] = ()) -> None:
        environment = dict(os.environ)
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start a thread for each core
        program = _PROGRAM.format(separator=os.pathsep, module=module)
        command = [sys.executable, "-c", program, str(os.getpid()), os.pathsep.join(import_path())]
        self.process = _spawner.start(command, environment, files)
        self.served = 0
        self._grow_pipe()

    def await_start(self) -> None:
        """Waits until it takes requests. Raises Lost where it does not start; it is closed then."""
        try:
            self._exchange(None, _START_DEADLINE_S, lambda: _START_DEADLINE_S)
        except BaseException:
            self.close()
            raise

    def _grow_pipe(self) -> None:
        if sys.platform == "linux":
            import fcntl

            assert self.process.stdout is not None
            try:
                fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:
                return  # over the user's limit of pipe memory: slower, not wrong

    def ask(
        self,
        request: bytes,
        deadline_s: float,
        most_s: Callable[[], float],
        take: Callable[[Any, float], bool] | None = None,
    ) -> tuple[str, Any]:
        """The answer to `request`.

        Args:
            request: pickled.
            deadline_s: seconds without a sign that it goes on, after which the child is killed.
            most_s: gives the seconds after which it is killed in any case; asked again as it goes on.
            take: of answers that come in parts, takes each, and the seconds that it was on its way; false ends the
                child. The time that it needs is not of the child's.

        Raises:
            Lost: there is no answer in time, or none that can be read; the child is dead then.
        """
        self.served += 1
        return self._exchange(request, deadline_s, most_s, take)

    def _exchange(
        self,
        request: bytes | None,
        deadline_s: float,
        most_s: Callable[[], float],
        take: Callable[[Any, float], bool] | None = None,
    ) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        with _Alarm(self.process, deadline_s, most_s) as alarm:
            try:
                if request is not None:
                    send(self.process.stdin, request)
                while True:
                    answer, on_its_way_s = receive_timed(self.process.stdout)
                    if answer == GOES_ON:
                        alarm.renew()
                    elif take is not None and answer[0] == PART:
                        with alarm.stopped():
                            if not take(answer[1], on_its_way_s):
                                self.process.kill()
                    else:
                        return answer
            except (EOFError, OSError) as error:
                code = self.process.wait()
                raise Lost(alarm.rang, alarm.why() if alarm.rang else death_of(code), alarm.idle_s) from error
            except Exception as error:
                self.process.kill()
                reason = f"its answer cannot be read: {type(error).__name__}: {error}"
                raise Lost(False, reason, alarm.idle_s) from error
            except BaseException:
                self.process.kill()  # an interrupted exchange leaves half an answer in the pipe
                raise

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """Ends the child: it is idle or dead."""
        self.forget()
        self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        """Closes this process's ends of the pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


_ahead: list[Child] = []


def start_ahead() -> None:
    """Starts a child for the next `start_child`, which then has it at once: it starts beside what is done till then."""
    if not _ahead:
        with suppress(OSError):  # `start_child` says so
            _ahead.append(Child())


def _take_ahead() -> Child | None:
    try:
        return _ahead.pop()
    except IndexError:
        return None


def _forget_ahead() -> None:
    """A forked process has no right to its parent's child."""
    while child := _take_ahead():
        child.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_ahead)


def start_child() -> Child:
    """A child that answers; one that does not start, as on a machine that is overloaded just now, is started again.

    Raises:
        LiteFrameError: none of several starts succeeds.
    """
    for pause in (*_PAUSES_S, None):
        try:
            child = _take_ahead() or Child()
            child.await_start()
            return child
        except (Lost, OSError) as error:
            if pause is None:
                reason = error.reason if isinstance(error, Lost) else str(error)
                raise LiteFrameError(
                    f"no decode process could be started in {len(_PAUSES_S) + 1} tries: {reason}. Free memory or"
                    " processes (fewer data.num_workers or data.decode_processes); what it printed, and `liteframe"
                    " doctor`, say what else may be missing"
                ) from error
            time.sleep(pause)
    raise AssertionError


def death_of(code: int) -> str:
    """How a process ended, by its exit code."""
    if code >= 0:
        return f"the decode process ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"the decode process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
