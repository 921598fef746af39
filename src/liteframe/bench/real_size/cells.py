"""Measures the methods of one cell in turns, within a time budget, and goes on where the memory does not suffice."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from liteframe.bench.latency import MethodSamples, interleave, require_same_settings
from liteframe.bench.memory import StageMemory
from liteframe.bench.timers import RunRule, synchronize

OUT_OF_MEMORY = "out of memory"
NO_TIME = "time budget"
"""Why a cell was not run."""


class Budget:
    """Seconds that a whole suite may take.

    Args:
        seconds: in all, from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._begin, self._seconds = time.monotonic(), seconds

    @property
    def spent(self) -> float:
        return time.monotonic() - self._begin

    @property
    def left(self) -> float:
        return self._seconds - self.spent


@dataclass(frozen=True)
class Outcome:
    """What became of one method of a cell.

    Attributes:
        samples: None where it was not measured.
        reason: why not, `OUT_OF_MEMORY` or `NO_TIME`; empty where it was.
    """

    samples: MethodSamples | None = None
    reason: str = ""


def rule_for(device: torch.device) -> RunRule:
    """10 warm-ups and 50 runs or 5 s on a GPU; on a CPU 2 and 5 runs, or 1 and 3 where a run takes over 5 s."""
    return RunRule.for_device(device) if device.type == "cuda" else RunRule.for_device(device, max_runs=5)


def measure_cell(
    runs: Mapping[str, Callable[[Any], None]],
    settings: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    budget: Budget,
    guesses: Mapping[str, float] | None = None,
) -> dict[str, Outcome]:
    """Run the methods in turns.

    Each first runs once on its own: that is a warm-up, its pass for the peak memory, shows whether it fits, and
    says how long the rest will take. A method that is not expected to fit the budget beside those before it is left
    out.

    Args:
        runs: method -> one run, called with a `StageTimer` or `StageMemory`; those that matter most come first.
        settings: method -> what it runs under.
        device: where they run.
        budget: of the suite.
        guesses: method -> seconds that a run is expected to take.

    Raises:
        VoidRun: methods differ in a setting that must agree; nothing has been run then.
    """
    require_same_settings(settings)
    rule, outcomes = rule_for(device), dict.fromkeys(runs, Outcome(reason=NO_TIME))
    seconds: dict[str, float] = {}
    peaks: dict[str, StageMemory] = {}
    for name, run in runs.items():
        guess = (guesses or {}).get(name, 0.0)
        if expected_seconds(rule, [*seconds.values(), guess]) + guess > budget.left:
            continue
        memory, begin = StageMemory(device), time.monotonic()
        try:
            run(memory)
            synchronize(device)
        except (torch.OutOfMemoryError, MemoryError):
            outcomes[name] = Outcome(reason=OUT_OF_MEMORY)
            _release(device)
            continue
        seconds[name], peaks[name] = time.monotonic() - begin, memory
    while seconds and expected_seconds(rule, seconds.values()) > budget.left:
        seconds.pop(list(seconds)[-1])
    timed: dict[str, MethodSamples] = {}
    running: list[str] = []
    while seconds and not timed:
        try:
            timed = interleave(
                {name: _noting(name, runs[name], running) for name in seconds},
                {name: settings[name] for name in seconds},
                replace(rule, warmup=warmups(rule, seconds.values()) - 1),
                device,
                memory=False,
            )
        except (torch.OutOfMemoryError, MemoryError):
            # That one is out; the others, which it may have disturbed, begin again.
            outcomes[running[-1]] = Outcome(reason=OUT_OF_MEMORY)
            seconds.pop(running[-1])
            _release(device)
    for name, samples in timed.items():
        samples.peak_mib, samples.memory_kind = peaks[name].peaks_mib, peaks[name].kind
        outcomes[name] = Outcome(samples)
    return outcomes


def _noting(name: str, run: Callable[[Any], None], running: list[str]) -> Callable[[Any], None]:
    """The run, which leaves its name behind so that an error in it can be told from another's."""

    def noted(timer: Any) -> None:
        running[:] = [name]
        run(timer)

    return noted


def warmups(rule: RunRule, seconds: Iterable[float]) -> int:
    """Warm-ups of a cell, the first run of each method among them: on a CPU one where a run takes long."""
    slow = max(seconds, default=0.0) > rule.slow_run_seconds
    return 1 if slow and rule.warmup < 10 else max(1, rule.warmup)


def expected_seconds(rule: RunRule, seconds: Iterable[float]) -> float:
    """How long a cell takes after the first run of each method, of runs that took so many seconds."""
    times = list(seconds)
    mean, slowest = sum(times) / max(1, len(times)), max(times, default=0.0)
    least = min(rule.min_runs, rule.slow_runs) if slowest > rule.slow_run_seconds else rule.min_runs
    runs = max(least, min(rule.max_runs, math.ceil(rule.max_seconds / max(mean, 1e-9))))
    return sum(times) * (warmups(rule, times) - 1 + runs)


def _release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
