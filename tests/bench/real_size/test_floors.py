"""Floors of a record: of timed stages alone, by the best limits that the run measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from liteframe.bench.floor import best_limits
from liteframe.bench.latency_record import How, LatencyRow
from liteframe.bench.real_size import record as module
from liteframe.bench.real_size.record import RunningRecord
from liteframe.bench.real_size.rows import computed, measured, with_floors

SLOW = {"bf16_gflops": 100.0, "fp32_gflops": 60.0, "bandwidth_gbs": 4.0, "seconds": 1.0}
QUICK = {"bf16_gflops": 200.0, "fp32_gflops": 50.0, "bandwidth_gbs": 8.0, "seconds": 2.0}


def test_best_limits_are_the_higher_of_each_rate() -> None:
    best = {"bf16_gflops": 200.0, "fp32_gflops": 60.0, "bandwidth_gbs": 8.0, "seconds": 3.0}
    assert best_limits(SLOW, QUICK) == best_limits(QUICK, SLOW) == best


def test_timed_stages_of_known_work_have_a_floor() -> None:
    stages = {
        "encode": measured([10.0, 30.0, 20.0], flops=1e9, moved_bytes=1e6),
        "project": measured([2.0] * 3, flops=1e6, moved_bytes=4e6),
        "prefill": computed(5.0, 1e9, How.AT_RATE, "a guess"),
        "first_token": measured([1.0] * 3),
    }
    found = with_floors(LatencyRow("pipeline", "student", 8, stages), SLOW).stages
    assert found["encode"].floor["floor_ms"] == pytest.approx(10.0), "10**9 operations at 10**11 a second"
    assert (found["encode"].floor["bound"], found["encode"].times_floor) == ("compute", pytest.approx(2.0))
    assert found["project"].floor["floor_ms"] == pytest.approx(1.0), "4 * 10**6 bytes at 4 * 10**9 a second"
    assert (found["project"].floor["bound"], found["project"].times_floor) == ("memory", pytest.approx(2.0))
    assert found["prefill"].floor is None and found["first_token"].times_floor is None


def test_floors_are_those_of_the_best_limits_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = iter([QUICK, SLOW])
    monkeypatch.setattr(module, "measure_limits", lambda device: next(later))
    record = RunningRecord({}, {}, SLOW, path=tmp_path / "record.json")
    record.add(LatencyRow("encoder", "student", 4, {"encode": measured([20.0] * 3, flops=1e9)}))
    assert record.data(1.0)["rows"][0]["stages"]["encode"]["times_floor"] == pytest.approx(2.0)
    for _ in range(2):
        record.measure_limits_again(torch.device("cpu"))
        assert record.data(1.0)["rows"][0]["stages"]["encode"]["times_floor"] == pytest.approx(4.0)
    assert record.data(1.0)["limits"] == {**QUICK, "fp32_gflops": 60.0, "seconds": 4.0}


def test_limits_stay_where_memory_does_not_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(device: torch.device) -> dict[str, float]:
        raise torch.OutOfMemoryError("no room for the matrices")

    monkeypatch.setattr(module, "measure_limits", full)
    record = RunningRecord({}, {}, SLOW, path=tmp_path / "record.json")
    record.measure_limits_again(torch.device("cuda"))
    assert record.limits == SLOW
