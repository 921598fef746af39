"""Times several methods against each other: in one process, in turns, under settings that must agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from liteframe.bench.memory import StageMemory
from liteframe.bench.timers import RunRule, StageTimer, summary
from liteframe.errors import LiteFrameError

MUST_AGREE = ("dtype", "attention_kernel", "llm", "prompt", "output_length")
"""Settings in which the methods of one comparison may not differ."""

TimedRun = Callable[[Any], object]
"""One run of a method: it takes a timer and marks its stages, ``with timer.stage("encode"): ...``."""


class VoidRun(LiteFrameError):
    """Methods were to be compared that do not run under the same settings.

    Attributes:
        differences: setting -> {method: value}.
    """

    def __init__(self, differences: dict[str, dict[str, Any]]) -> None:
        self.differences = differences
        parts = [
            f"{name} ({', '.join(f'{method}: {value!r}' for method, value in values.items())})"
            for name, values in differences.items()
        ]
        super().__init__(
            f"this run is void, its methods differ in {'; '.join(parts)}: run them under the same settings"
        )


_MISSING = "not declared"


def require_same_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `VoidRun` that names the settings of `MUST_AGREE` in which methods differ, or that one lacks."""
    differences: dict[str, dict[str, Any]] = {}
    for name in MUST_AGREE:
        values = {method: declared.get(name, _MISSING) for method, declared in settings.items()}
        if any(value == _MISSING or value != next(iter(values.values())) for value in values.values()):
            differences[name] = values
    if differences:
        raise VoidRun(differences)


@dataclass
class MethodSamples:
    """Raw times of one method.

    Attributes:
        stages_ms: stage -> a time a run, milliseconds.
        run_ms: whole runs on the synchronised host clock.
        peak_mib: stage -> peak memory, from a pass of its own.
        memory_kind: what the peaks are of.
    """

    stages_ms: dict[str, list[float]]
    run_ms: list[float]
    peak_mib: dict[str, float] = field(default_factory=dict)
    memory_kind: str = ""

    def median_ms(self, stage: str) -> float:
        """Median of a stage, milliseconds."""
        return summary(self.stages_ms[stage])["median"]


def interleave(
    methods: Mapping[str, TimedRun],
    settings: Mapping[str, Mapping[str, Any]],
    rule: RunRule | None = None,
    device: str | torch.device = "cpu",
    memory: bool = True,
) -> dict[str, MethodSamples]:
    """Run the methods in turns (A B A B ...) and keep every time.

    All methods get the same number of timed runs. The rule's seconds are a method's, so N together may take N times as
    long.

    Args:
        methods: name -> one run, called with a ``StageTimer``.
        settings: name -> what the method runs under; at least the fields of ``MUST_AGREE``.
        rule: how often; ``RunRule.for_device(device)`` unless told.
        device: where the methods run.
        memory: whether to make one more pass for the peak memory of each stage.

    Raises:
        VoidRun: methods differ in a setting that must agree.
    """
    if set(methods) != set(settings):
        raise ValueError(f"methods {sorted(methods)} and settings {sorted(settings)} name different methods")
    require_same_settings(settings)
    rule = rule or RunRule.for_device(device)
    timers = {name: StageTimer(device) for name in methods}
    for _ in range(rule.warmup):
        for name, method in methods.items():
            with timers[name].run():
                method(timers[name])
    for timer in timers.values():
        timer.clear()
    runs = 0
    while not _enough(rule, runs, timers):
        for name, method in methods.items():
            with timers[name].run():
                method(timers[name])
        runs += 1
    results = {name: MethodSamples(timer.samples_ms, timer.run_ms) for name, timer in timers.items()}
    if memory:
        for name, method in methods.items():
            peaks = StageMemory(device)
            method(peaks)
            results[name].peak_mib, results[name].memory_kind = peaks.peaks_mib, peaks.kind
    return results


def _enough(rule: RunRule, runs: int, timers: Mapping[str, StageTimer]) -> bool:
    seconds = sum(sum(timer.run_ms) for timer in timers.values()) / 1e3 / max(1, len(timers))
    slowest = max((max(timer.run_ms, default=0.0) for timer in timers.values()), default=0.0) / 1e3
    return rule.enough(runs, seconds, slowest)
