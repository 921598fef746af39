"""Clocks: milliseconds of each stage of a run, with the GPU synchronised where there is one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class RunRule:
    """How often a cell is timed.

    A cell stops at ``max_runs`` or after ``max_seconds`` of timed runs, but not before ``min_runs``; where one run
    takes more than ``slow_run_seconds``, ``slow_runs`` are enough.
    """

    warmup: int
    min_runs: int
    max_runs: int = 50
    max_seconds: float = 5.0
    slow_run_seconds: float = 5.0
    slow_runs: int = 3

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.min_runs < 1 or self.max_runs < self.min_runs or self.slow_runs < 1:
            raise ValueError(f"a rule needs 1 <= min_runs <= max_runs, slow_runs >= 1 and warmup >= 0, got {self}")

    @classmethod
    def for_device(cls, device: str | torch.device, **changes: Any) -> RunRule:
        """10 warm-ups and at least 5 runs on a GPU, 2 and 5 on a CPU; ``changes`` replace single fields."""
        warmup = 10 if torch.device(device).type == "cuda" else 2
        return cls(**{"warmup": warmup, "min_runs": 5, **changes})

    def enough(self, runs: int, seconds: float, slowest: float) -> bool:
        """Whether ``runs`` runs that took ``seconds`` in all, the slowest of them ``slowest``, are enough."""
        needed = min(self.min_runs, self.slow_runs) if slowest > self.slow_run_seconds else self.min_runs
        return runs >= needed and (runs >= self.max_runs or seconds >= self.max_seconds)

    def describe(self) -> dict[str, Any]:
        """The fields, for a record."""
        return asdict(self)


def synchronize(device: str | torch.device) -> None:
    """Wait for the work queued on a CUDA device; nothing to do elsewhere."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


class StageTimer:
    """Times named stages of repeated runs.

    On a CPU a stage is read from the host clock. On CUDA a pair of events brackets each stage, read after the run's
    one synchronise, so stages are not slowed by it; the run itself is on the host clock, synchronised at both ends.

        timer = StageTimer(device)
        with timer.run():
            with timer.stage("encode"): ...
            with timer.stage("prefill"): ...
        timer.samples_ms["encode"], timer.run_ms

    Attributes:
        samples_ms: stage -> one time a run, in milliseconds; a stage entered twice in a run counts as their sum.
        run_ms: one time a run on the host clock.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.samples_ms: dict[str, list[float]] = {}
        self.run_ms: list[float] = []
        self._current: dict[str, float] | None = None
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._open: str | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run; its stages are kept only if it ends without an error."""
        if self._current is not None:
            raise RuntimeError("a run of this timer is already open")
        self._current, self._events = {}, []
        try:
            synchronize(self.device)
            begin = time.perf_counter()
            yield
            synchronize(self.device)
            elapsed = 1e3 * (time.perf_counter() - begin)
            for name, first, last in self._events:
                self._current[name] = self._current.get(name, 0.0) + first.elapsed_time(last)
            self._keep(elapsed)
        finally:
            self._current, self._events, self._open = None, [], None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage of the open run; stages do not nest. Outside a run it is a run of its own."""
        if self._current is None:
            with self.run(), self.stage(name):
                yield
            return
        if self._open is not None:
            raise RuntimeError(f"stage {name!r} opened inside stage {self._open!r}: stages are timed apart")
        self._open = name
        if self.device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record(torch.cuda.current_stream(self.device))
            yield
            last.record(torch.cuda.current_stream(self.device))
            self._events.append((name, first, last))
        else:
            begin = time.perf_counter()
            yield
            self._current[name] = self._current.get(name, 0.0) + 1e3 * (time.perf_counter() - begin)
        self._open = None

    def clear(self) -> None:
        """Forget all samples (after warm-ups)."""
        self.samples_ms, self.run_ms = {}, []

    def _keep(self, elapsed_ms: float) -> None:
        assert self._current is not None
        if self.run_ms and set(self._current) != set(self.samples_ms):
            raise RuntimeError(
                f"a run has the stages {sorted(self._current)}, earlier ones had {sorted(self.samples_ms)}"
            )
        for name, value in self._current.items():
            self.samples_ms.setdefault(name, []).append(value)
        self.run_ms.append(elapsed_ms)


def measure(
    fn: Callable[[], object],
    warmup: int = 2,
    min_runs: int = 5,
    max_runs: int = 50,
    max_seconds: float = 5.0,
    device: str | torch.device = "cpu",
) -> list[float]:
    """Raw times of ``fn`` in milliseconds, host clock, synchronised around every run (see ``RunRule``)."""
    rule = RunRule(warmup=warmup, min_runs=min_runs, max_runs=max_runs, max_seconds=max_seconds)
    timer = StageTimer(device)
    for _ in range(rule.warmup):
        fn()
    while not rule.enough(len(timer.run_ms), sum(timer.run_ms) / 1e3, max(timer.run_ms, default=0.0) / 1e3):
        with timer.run():
            fn()
    return timer.run_ms


def summary(samples: Sequence[float]) -> dict[str, float]:
    """``median``, ``p10``, ``p90`` and ``n`` of raw samples, in their unit.

    Raises:
        ValueError: there are no samples.
    """
    if len(samples) == 0:
        raise ValueError("no samples to sum up")
    p10, median, p90 = np.percentile(np.asarray(samples, dtype=np.float64), [10, 50, 90])
    return {"median": float(median), "p10": float(p10), "p90": float(p90), "n": len(samples)}


def median_interval(samples: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Interval of the median of what the samples are drawn from, whatever its shape, by their ranks.

    The narrowest pair of samples, as far from the lowest as from the highest, that misses the median with a probability
    of at most ``1 - level``. Fewer than 6 samples have none at 0.95; theirs are the lowest and the highest.

    Raises:
        ValueError: there are no samples.
    """
    if len(samples) == 0:
        raise ValueError("no samples to sum up")
    ordered, count, below, rank = sorted(samples), len(samples), 0.0, 0
    for place in range((count - 1) // 2):
        below += math.comb(count, place) / 2**count
        if 2.0 * below > 1.0 - level:
            break
        rank = place
    return float(ordered[rank]), float(ordered[-1 - rank])
