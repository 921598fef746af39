"""Where the time of an answer goes: stages one after the other, which with the rest add up to all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WAIT, OTHER = "wait", "other"


class Stopwatch:
    """Milliseconds of stages one after the other, and what is left of the whole.

    A GPU is not waited for until the end. There, stages are the time that it was at work for them, and `wait` all that
    it was not.

    Args:
        device: that does the work.
        now: seconds of a clock.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter) -> None:
        self._device, self._now = device, now
        self._began = now()
        self._host_ms: dict[str, float] = {}
        self._events: list[tuple[str, Any, Any]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what passes inside to a stage."""
        if self._device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((name, first, last))
            return
        began = self._now()
        yield
        self._host_ms[name] = self._host_ms.get(name, 0.0) + 1e3 * (self._now() - began)

    def finish(self) -> dict[str, float]:
        """Milliseconds of each stage, with `wait` and `other`: together all since it was made."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        total = 1e3 * (self._now() - self._began)
        if self._device.type == "cuda":
            at_work: dict[str, float] = {}
            for name, first, last in self._events:
                at_work[name] = at_work.get(name, 0.0) + first.elapsed_time(last)
            at_work.pop(WAIT, None)
            return {WAIT: max(0.0, total - sum(at_work.values())), **at_work, OTHER: 0.0}
        return {**self._host_ms, OTHER: total - sum(self._host_ms.values())}
