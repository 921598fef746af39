"""Memory and CPU time of a process and of all below it, as time goes by."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil


class MemorySampler(threading.Thread):
    """Samples until it is stopped: `parent`, `workers` and `decoders` in MB, how many of each there are, and the CPU
    seconds of all together.

    Loader processes are children of this one, decode processes are those of loader processes. Memory is the PSS of what
    no file backs: a page that several processes share counts in equal parts, so that the sum over processes is what
    the machine holds, and the code of libraries, which the kernel drops and reads again as it likes, does not count.

    Args:
        every_s: seconds between two samples.
        done: what has been done so far, kept with each sample.
    """

    def __init__(self, every_s: float, done: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.samples: list[dict[str, Any]] = []
        self._every_s, self._done = every_s, done
        self._ended = threading.Event()
        self._began = time.monotonic()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.samples.append(self._sample())

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _sample(self) -> dict[str, Any]:
        this = psutil.Process()
        workers = this.children()
        decoders = [child for worker in workers for child in _children(worker)]
        return {
            "s": round(time.monotonic() - self._began, 1),
            "clips": self._done(),
            "parent_mb": _mb([this]),
            "workers_mb": _mb(workers),
            "decoders_mb": _mb(decoders),
            "workers": len(workers),
            "decoders": len(decoders),
            "cpu_s": round(sum(map(_cpu_s, [this, *workers, *decoders])), 2),
        }


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _cpu_s(process: psutil.Process) -> float:
    """Of a process and of its children that have ended."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0


def _mb(processes: list[psutil.Process]) -> float:
    total = 0
    for process in processes:
        try:
            rows = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            continue  # it has just ended
        total += sum(int(row.split()[1]) for row in rows if row.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return round(total * 1024 / 1e6, 1)
