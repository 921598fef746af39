"""A `liteframe` command forked from this process, which has imported everything: a fresh one costs five seconds."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any, BinaryIO, NoReturn

import torch
from lightning.pytorch.strategies.launchers import subprocess_script

from liteframe.command import cli
from ranks import ForkedRank


class ForkedCommand:
    """Stands in for `subprocess.Popen([python, "-m", "liteframe", *words])`, where a command's start is not tested."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: Any,
        stdout: BinaryIO,
        stderr: BinaryIO,
        env: Mapping[str, str],
        start_new_session: bool,
    ) -> None:
        assert list(command[:3]) == [sys.executable, "-m", "liteframe"] and start_new_session
        self._process = multiprocessing.get_context("fork").Process(
            target=_main, args=(command[3:], stdout.fileno(), stderr.fileno(), env)
        )
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("liteframe", timeout or 0.0)
        return self._process.exitcode


def _main(words: Sequence[str], stdout: int, stderr: int, environment: Mapping[str, str]) -> NoReturn:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    run_command(words)


def run_command(
    words: Sequence[str], script: str = "liteframe", forks_rank_1: bool = True, spec: ModuleSpec | None = None
) -> NoReturn:
    """Ends this process, which was forked for it, as `liteframe WORDS`.

    Args:
        words: after `liteframe`.
        script: what Lightning would start the second of two ranks from.
        forks_rank_1: fork that rank instead.
        spec: of the module that it would start by `python -m` in place of the script.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    sys.argv, sys.modules["__main__"].__spec__ = [script, *words], spec  # where Lightning finds the words for rank 1
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    if forks_rank_1:
        subprocess_script.subprocess = SimpleNamespace(Popen=ForkedRank(cli.main))  # type: ignore[attr-defined]
    sys.exit(cli.main())
