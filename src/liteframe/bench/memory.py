"""Peak memory of a stage: the allocator's on CUDA, the resident set of the process elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

CUDA_MEMORY = "cuda allocated"
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak(device: str | torch.device = "cpu") -> str:
    """Start a new peak and say what it is a peak of.

    Returns:
        `CUDA_MEMORY`, "resident set", or "resident set since start" where the system cannot reset it.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return CUDA_MEMORY
    try:
        _CLEAR.write_text("5")
    except OSError:
        return "resident set since start"
    return "resident set"


def peak_mib(device: str | torch.device = "cpu") -> float:
    """The peak since ``reset_peak``, in MiB, all of the process and not only what was added."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # not on Windows; psutil has no peak of the others

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


class StageMemory:
    """Has the ``stage`` and ``run`` of a ``StageTimer``, but keeps each stage's peak instead of its time.

    A pass of its own, because resetting a peak inside a timed run would be timed.

    Attributes:
        peaks_mib: stage -> peak in MiB.
        kind: what the peak is of (see ``reset_peak``).
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.peaks_mib: dict[str, float] = {}
        self.kind = ""

    @contextmanager
    def run(self) -> Iterator[None]:
        """Here only so that a method can be called with either."""
        yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Keep the highest peak that this stage was seen with."""
        self.kind = reset_peak(self.device)
        yield
        self.peaks_mib[name] = max(self.peaks_mib.get(name, 0.0), peak_mib(self.device))
