"""Ranks of a run, forked from this process, so that none of them needs seconds of imports."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only


def run_ranks(function: Callable[..., None], world_size: int, *args: Any) -> list[int]:
    """Runs `function(rank, *args)` as the ranks of one DDP run, as a launcher would start them; their exit codes.

    Forked, unless a GPU makes that impossible.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    ranks = [
        context.Process(target=_as_rank, args=(function, rank, world_size, port, args)) for rank in range(world_size)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        if process.is_alive():
            process.kill()
            process.join()
    return [int(process.exitcode or 0) for process in ranks]


def _as_rank(function: Callable[..., None], rank: int, world_size: int, port: int, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # else a command takes all cores
    if world_size > 1:
        os.environ.update(
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            WORLD_SIZE=str(world_size),
            NODE_RANK="0",
            LOCAL_RANK=str(rank),
        )
        rank_zero_only.rank = rank  # which Lightning reads when it is imported
    function(rank, *args)


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
        rank_zero_only.rank = int(environment["LOCAL_RANK"])
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
