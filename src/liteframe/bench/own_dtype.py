"""The dtype that a method is timed in: on a CPU the faster of its own two, so that none is slowed by what suits others.

One method may gain from bfloat16 where another loses: its convolutions, small products or casts weigh otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from liteframe.bench.latency import TimedRun
from liteframe.bench.records import MODEL_STAGES
from liteframe.bench.timers import StageTimer

DTYPES = ("bfloat16", "float32")
FASTER = "the faster of bfloat16 and float32 for each method"
_RUNS, _FAR = 3, 3.0


@contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Under autocast on the CPU to a dtype of `DTYPES`, in which float32 is none."""
    with torch.autocast("cpu", getattr(torch, dtype), enabled=dtype != "float32"):
        yield


def in_dtype(run: TimedRun, dtype: str) -> TimedRun:
    """The run, computing in that dtype."""

    def timed(timer: Any) -> None:
        with computing_in(dtype):
            run(timer)

    return timed


def own_dtypes(methods: Mapping[str, TimedRun]) -> dict[str, dict[str, Any]]:
    """The faster dtype of each method, computing under autocast: see `faster_dtypes`.

    Args:
        methods: name -> one run.
    """
    return faster_dtypes({name: {dtype: in_dtype(run, dtype) for dtype in DTYPES} for name, run in methods.items()})


def faster_dtypes(methods: Mapping[str, Mapping[str, TimedRun]]) -> dict[str, dict[str, Any]]:
    """Times every method in both dtypes in turns, after a run each to warm up, which a far slower dtype does not pass.

    Args:
        methods: name -> dtype -> one run.

    Returns:
        For each method ``dtype``, that of the lower model time, and the times: ``bfloat16_ms`` and ``float32_ms``, the
        least of a few runs.
    """
    arms = {(name, dtype): run for name, runs in methods.items() for dtype, run in runs.items()}
    warm_ms = {arm: _model_ms(run) for arm, run in arms.items()}
    close = [
        (name, dtype) for name, dtype in arms if warm_ms[name, dtype] < _FAR * min(warm_ms[name, d] for d in DTYPES)
    ]
    turns = [{arm: _model_ms(arms[arm]) for arm in close} for _ in range(_RUNS)]
    best_ms = {**warm_ms, **{arm: min(turn[arm] for turn in turns) for arm in close}}
    found = {}
    for name in methods:
        times = {dtype: best_ms[name, dtype] for dtype in DTYPES}
        fastest = min(times, key=times.__getitem__)
        found[name] = {"dtype": fastest, **{f"{dtype}_ms": round(ms, 3) for dtype, ms in times.items()}}
    return found


def _model_ms(run: TimedRun) -> float:
    timer = StageTimer("cpu")
    with timer.run():
        run(timer)
    return sum(timer.samples_ms[stage][0] for stage in MODEL_STAGES if stage in timer.samples_ms)
