"""One decoding process: it dies with its parent, is asked under a deadline, and killed where it does not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from liteframe.data.decode_worker import receive, send
from liteframe.errors import LiteFrameError

_START_DEADLINE_S = 120.0
_PIPE_BYTES = 1 << 20


class _Spawner:
    """Starts all children from one thread that lives as long as this process.

    Linux sends the "parent died" signal when the starting *thread* ends.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(1, "liteframe-spawner")
            threads = self._threads
        return threads.submit(self._popen, command, environment).result()

    @staticmethod
    def _popen(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment)


_spawner = _Spawner()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_spawner.reset)


class Lost(Exception):
    """A child did not answer; `timed_out` tells a kill at the deadline from a death of its own."""

    def __init__(self, timed_out: bool, reason: str) -> None:
        super().__init__(reason)
        self.timed_out, self.reason = timed_out, reason


class Child:
    """One decoding process."""

    def __init__(self) -> None:
        environment = dict(os.environ)
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start a thread for each core
        environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        command = [sys.executable, "-m", "liteframe.data.decode_worker", str(os.getpid())]
        self.process = _spawner.start(command, environment)
        self.served = 0
        self._grow_pipe()
        try:
            self._exchange(None, _START_DEADLINE_S)
        except Lost as lost:
            raise LiteFrameError(f"a decode process ({' '.join(command)}) did not start: {lost.reason}") from lost

    def _grow_pipe(self) -> None:
        if sys.platform == "linux":
            import fcntl

            assert self.process.stdout is not None
            try:
                fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:
                return  # over the user's limit of pipe memory: slower, not wrong

    def ask(self, request: bytes, deadline_s: float) -> tuple[str, Any]:
        """The answer to `request`; raises Lost (and leaves a dead child) where there is none in time."""
        self.served += 1
        return self._exchange(request, deadline_s)

    def _exchange(self, request: bytes | None, deadline_s: float) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        late = threading.Event()

        def kill() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(deadline_s, kill)
        timer.daemon = True
        timer.start()
        try:
            if request is not None:
                send(self.process.stdin, request)
            return receive(self.process.stdout)
        except (EOFError, OSError) as error:
            code = self.process.wait()
            reason = f"no answer within {deadline_s:g} s" if late.is_set() else death_of(code)
            raise Lost(late.is_set(), reason) from error
        except BaseException:
            self.process.kill()  # an interrupted exchange leaves half an answer in the pipe
            raise
        finally:
            timer.cancel()
            timer.join()  # so that a kill that came too late is seen by `alive`

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


def death_of(code: int) -> str:
    if code >= 0:
        return f"the decode process ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"the decode process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
