"""The second rank of a run, which Lightning would start as a fresh process, forked from one that has imported all."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_only


class ForkedRank:
    """Stands in for `subprocess.Popen` where Lightning starts rank 1.

    The process is there before the run begins, so that it has none of its state, and waits for command and environment.

    Args:
        main: what it runs then, on the words of the command behind interpreter and script; its exit code.
    """

    def __init__(self, main: Callable[[list[str]], int]) -> None:
        self.returncode: int | None = None
        reading, self._writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._writing)
            os._exit(self._begin(main, reading))
        os.close(reading)

    @staticmethod
    def _begin(main: Callable[[list[str]], int], reading: int) -> int:
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        if not told:
            return 0  # the first rank has ended without a second one
        command, environment = json.loads(told)
        os.environ.clear()
        os.environ.update(environment)
        rank_zero_only.rank = int(environment["LOCAL_RANK"])  # read by Lightning when it is imported
        return main(command[2:])

    def __call__(self, command: Sequence[str], env: dict[str, str], cwd: Any = None) -> ForkedRank:
        """As `Popen(command, env=env, cwd=cwd)`."""
        with os.fdopen(self._writing, "w") as pipe:
            json.dump([command, env], pipe)
        return self

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
