"""The commands of a rehearsal, each in a process of its own, as a user would start it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ENDED_BY_SIGTERM, RANK_LOST = 128 + signal.SIGTERM, 1
"""Exit codes of runs that end half-way."""
_LIMIT_S = 3600.0
_GRACE_S = 20.0
_OF_ANOTHER_RUN = (
    "MASTER_",
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "RANK",
    "SLURM_",
    "PL_",
    "TORCHELASTIC",
)
"""Beginnings of environment variables that would make a command part of another run."""


@dataclass(frozen=True)
class Step:
    """A command of the rehearsal.

    Attributes:
        name: for the table, and for its files of output.
        words: after `liteframe`.
        code: the exit code that it ends with if all is well.
        writes: what it then writes to stderr, among other things.
    """

    name: str
    words: tuple[str, ...]
    code: int = 0
    writes: str = ""

    def command_line(self) -> str:
        """What a user would type."""
        return shlex.join(["liteframe", *self.words])


@dataclass(frozen=True)
class Result:
    """What a command came to.

    Attributes:
        step: the command.
        code: its exit code; None where it was given up after too long.
        seconds: that it took.
        said: the last line that it wrote to stdout.
        log: file of all that it wrote to stderr.
    """

    step: Step
    code: int | None
    seconds: float
    said: str
    log: Path

    @property
    def went_well(self) -> bool:
        return self.code == self.step.code and self.step.writes in "\n".join(_lines(self.log))


def run_step(step: Step, folder: Path, limit_s: float = _LIMIT_S) -> Result:
    """Runs a command in the current folder.

    Args:
        step: the command.
        folder: for what it writes: NAME.out and NAME.err.
        limit_s: seconds after which it is given up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = step.name.replace(" ", "-").replace(",", "")
    out, log = folder / f"{name}.out", folder / f"{name}.err"
    start, code = time.monotonic(), None
    with out.open("wb") as to_out, log.open("wb") as to_log, _process(step.words, to_out, to_log) as process:
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
    said = [line for line in _lines(out) if line[0].isalnum() or line[0] == "["]  # no frames of tables
    return Result(step, code, time.monotonic() - start, said[-1] if said else "", log)


def last_lines(path: Path, count: int) -> str:
    """The end of what a command wrote."""
    return "\n".join(_lines(path)[-count:])


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def without_other_run(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that do not make a command a rank of the run that it is started in."""
    return {name: value for name, value in environment.items() if not name.startswith(_OF_ANOTHER_RUN)}


@contextmanager
def _process(words: Sequence[str], out: object, log: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a group of its own, of which no process is left afterwards."""
    environment = without_other_run(os.environ)
    environment["HF_HUB_OFFLINE"] = "1"  # all that it reads is here, and what is not is to be seen
    process = subprocess.Popen(
        [*_liteframe(), *words],
        stdin=subprocess.DEVNULL,
        stdout=out,  # type: ignore[call-overload]
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        try:
            if process.poll() is None and sys.platform != "win32":  # there, nobody can be asked
                os.killpg(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
        finally:
            _kill(process)
            process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process and its children, which may outlive it."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()


def _liteframe() -> list[str]:
    """The command that this process was started by, or the module, so that user code is found as it would be."""
    started = Path(sys.argv[0])
    own = started.name == "liteframe" and started.is_file()
    return [sys.executable, str(started)] if own else [sys.executable, "-m", "liteframe"]
