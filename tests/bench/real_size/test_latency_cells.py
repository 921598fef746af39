"""A cell: what runs, in which order, and what becomes of methods that do not fit the time or the memory."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from liteframe.bench.latency import VoidRun
from liteframe.bench.real_size.cells import NO_TIME, OUT_OF_MEMORY, Budget, expected_seconds, measure_cell, warmups
from liteframe.bench.timers import RunRule

CPU = torch.device("cpu")
SAME = {"dtype": "bf16", "attention_kernel": "sdpa", "llm": "x", "prompt": "y", "output_length": 1}


class Runs:
    """Arms that only note that they ran."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def __call__(self, name: str, error: type[Exception] | None = None) -> Any:
        def run(timer: Any) -> None:
            self.log.append(name)
            with timer.stage("encode"):
                if error is not None:
                    raise error("full")

        return run


def settings(*names: str) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(names, SAME)


def test_methods_run_in_turns_after_a_first_run_of_each() -> None:
    runs = Runs()
    found = measure_cell({"a": runs("a"), "b": runs("b")}, settings("a", "b"), CPU, Budget(60))
    assert runs.log == ["a", "b"] * 7  # the first run, one more warm-up, and five
    for outcome in found.values():
        assert outcome.samples is not None
        assert len(outcome.samples.stages_ms["encode"]) == 5
        assert outcome.samples.peak_mib["encode"] > 0


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_an_method_that_does_not_fit_the_memory_leaves_the_others(error: type[Exception]) -> None:
    runs = Runs()
    found = measure_cell({"a": runs("a", error), "b": runs("b")}, settings("a", "b"), CPU, Budget(60))
    assert found["a"].reason == OUT_OF_MEMORY
    assert found["b"].samples is not None
    assert runs.log.count("a") == 1


def test_an_method_that_does_not_fit_on_a_later_run_leaves_the_others() -> None:
    runs, turns = Runs(), iter(range(100))

    def fails_on_its_third_run(timer: Any) -> None:
        if next(turns) == 2:
            raise torch.OutOfMemoryError
        runs("b")(timer)

    found = measure_cell({"a": runs("a"), "b": fails_on_its_third_run}, settings("a", "b"), CPU, Budget(60))
    assert found["b"].reason == OUT_OF_MEMORY
    assert found["a"].samples is not None and found["a"].samples.run_ms


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(KeyError):
        measure_cell({"a": Runs()("a", KeyError)}, settings("a"), CPU, Budget(60))


def test_methods_that_differ_are_void_before_anything_runs() -> None:
    runs = Runs()
    with pytest.raises(VoidRun, match="dtype"):
        measure_cell({"a": runs("a"), "b": runs("b")}, {"a": SAME, "b": {**SAME, "dtype": "fp32"}}, CPU, Budget(60))
    assert runs.log == []


def test_what_is_expected_to_take_too_long_is_not_begun() -> None:
    runs = Runs()
    found = measure_cell({"a": runs("a"), "b": runs("b")}, settings("a", "b"), CPU, Budget(60), {"b": 30.0})
    assert found["a"].samples is not None
    assert found["b"].reason == NO_TIME
    assert "b" not in runs.log
    assert {o.reason for o in measure_cell({"a": runs("a")}, settings("a"), CPU, Budget(0)).values()} == {NO_TIME}


def test_the_last_methods_go_when_the_rest_does_not_fit() -> None:
    runs = Runs()

    def slow(timer: Any) -> None:
        time.sleep(0.5)
        runs("slow")(timer)

    found = measure_cell({"a": runs("a"), "slow": slow}, settings("a", "slow"), CPU, Budget(2.5))
    assert found["slow"].reason == NO_TIME
    assert found["a"].samples is not None
    assert runs.log == ["a", "slow"] + ["a"] * 6


def test_expected_seconds_are_those_of_the_rule() -> None:
    cpu = RunRule.for_device("cpu", max_runs=5)
    assert expected_seconds(cpu, [0.1, 0.3]) == pytest.approx(0.4 * (1 + 5))
    assert expected_seconds(cpu, [6.0, 0.1]) == pytest.approx(6.1 * 3), "one warm-up, which has been, and three runs"
    gpu = RunRule.for_device("cuda")
    assert expected_seconds(gpu, [0.01]) == pytest.approx(0.01 * (9 + 50))
    assert expected_seconds(gpu, [0.5]) == pytest.approx(0.5 * (9 + 10))
    assert expected_seconds(gpu, [2.0]) == pytest.approx(2.0 * (9 + 5))
    assert warmups(gpu, [9.0]) == 10
