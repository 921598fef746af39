"""One shard of a list as a job on some machine of a cluster: `liteframe predict --shard i/n` in a process of its own.

A process for each, so that whatever ends it (a decoder, CUDA, memory) leaves the worker alive to say so, and so that
what runs is the command that everybody runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liteframe.command.cli import PARENT_PID
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.system.run_lock import lock_holder

_PATIENCE_S = 300.0
_LOOK_S = 1.0
_LAST_LINES = 20
_OF_OTHER_LAUNCHERS = ("SLURM_", "PMI_", "OMPI_", "TORCHELASTIC_")
_OF_RANKS = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class ShardLost(LiteFrameError):
    """The process that made a shard was ended from outside, so that another may be tried."""


@dataclass(frozen=True)
class ShardJob:
    """What a machine has to be told to make a shard.

    Attributes:
        shard: "i/n".
        words: of the command, without `--shard`.
        folder: current folder of the command, the same on every machine.
        locks: folder of the shards' locks.
        lock: name of this shard's in it.
    """

    shard: str
    words: tuple[str, ...]
    folder: str
    locks: str
    lock: str


def make_shard(job: ShardJob) -> str:
    """Makes one shard; what stands behind `liteframe: error:` where that fails, else nothing.

    Raises:
        ShardLost: the process was killed, or another machine still holds the shard.
        ConfigError: the folder is not on this machine.
    """
    if not os.path.isdir(job.folder):
        raise ConfigError(f"{job.folder}: not on this machine; run from a folder on a disk that all machines have")
    _wait_for_lock(job)
    command = [sys.executable, "-m", "liteframe", *job.words, "--shard", job.shard]
    environment = {**own_environment(os.environ), PARENT_PID: str(os.getpid())}
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command, cwd=job.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line.strip())
    code = process.returncode
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        raise ShardLost(f"shard {job.shard}: its process was ended by signal {number}")
    if code == 0:
        return ""
    errors = [line.partition("error: ")[2] for line in last if line.startswith("liteframe: error: ")]
    return errors[-1] if errors else " / ".join(last) or f"exit code {code}"


def own_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that runs alone: without those by which Lightning would take it for one of many."""
    return {
        name: value
        for name, value in variables.items()
        if name not in _OF_RANKS and not name.startswith(_OF_OTHER_LAUNCHERS)
    }


def _wait_for_lock(job: ShardJob) -> None:
    """Waits for an attempt whose machine was believed lost, or whose end the file system has yet to notice."""
    until = time.monotonic() + _PATIENCE_S
    while holder := lock_holder(job.locks, job.lock):
        if time.monotonic() > until:
            raise ShardLost(f"shard {job.shard}: still being made by {holder}")
        time.sleep(_LOOK_S)


def words_of(config: Sequence[str], changes: Sequence[str]) -> tuple[str, ...]:
    """The command of a job: the user's own config, in one process on one device."""
    alone = ("--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.enable_progress_bar=false")
    return ("predict", *(word for name in config for word in ("--config", name)), *changes, *alone)
