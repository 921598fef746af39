"""Every method of a comparison is timed in the dtype that is the faster one for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from liteframe.bench import own_dtype
from liteframe.bench.own_dtype import computing_in, in_dtype, own_dtypes
from liteframe.bench.timers import StageTimer

TAKES = {
    "likes bfloat16": {"bfloat16": [9.0, 3.0, 2.0, 4.0], "float32": [8.0, 5.0, 5.0, 5.0]},
    "likes float32": {"bfloat16": [8.0, 7.0, 8.0, 9.0], "float32": [9.0, 9.0, 6.0, 9.0]},
    "far apart": {"bfloat16": [90.0], "float32": [9.0, 9.0, 9.0, 8.0]},
}
"""Milliseconds of the encoder by method and dtype, run after run; the first one is to warm up."""


def method(name: str, turns: list[tuple[str, str]]) -> Callable[[Any], None]:
    left = {dtype: iter(times) for dtype, times in TAKES[name].items()}

    def run(timer: Any) -> None:
        dtype = "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"
        turns.append((name, dtype))
        timer.takes("decode", 1000.0)  # is not the model's
        timer.takes("encode", next(left[dtype]))
        timer.takes("project", 0.0)
        timer.takes("prefill", 1.0)

    return run


class ToldTimer(StageTimer):
    """Believes what a run says of its stages."""

    def takes(self, stage: str, ms: float) -> None:
        assert self._current is not None
        self._current[stage] = ms


def test_each_method_has_its_own_faster_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_dtype, "StageTimer", ToldTimer)
    turns: list[tuple[str, str]] = []
    assert own_dtypes({name: method(name, turns) for name in TAKES}) == {
        "likes bfloat16": {"dtype": "bfloat16", "bfloat16_ms": 3.0, "float32_ms": 6.0},
        "likes float32": {"dtype": "float32", "bfloat16_ms": 8.0, "float32_ms": 7.0},
        "far apart": {"dtype": "float32", "bfloat16_ms": 91.0, "float32_ms": 9.0},
    }
    every = [(name, dtype) for name in TAKES for dtype in ("bfloat16", "float32")]
    assert turns[:6] == every, "in turns, so that a moment at which the machine is busy is nobody's own"
    assert turns[6:] == 3 * [arm for arm in every if arm != ("far apart", "bfloat16")]


def test_a_run_computes_in_the_dtype_that_it_is_told() -> None:
    layer, seen = torch.nn.Linear(4, 4), Counter[torch.dtype]()

    def run(timer: Any) -> None:
        seen[layer(torch.ones(1, 4)).dtype] += 1

    in_dtype(run, "bfloat16")(None)
    in_dtype(run, "float32")(None)
    assert seen == {torch.bfloat16: 1, torch.float32: 1}
    with computing_in("bfloat16"):
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
