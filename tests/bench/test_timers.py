from __future__ import annotations

import numpy as np
import pytest
import torch

from liteframe.bench.timers import RunRule, StageTimer, measure, median_interval, summary


class _Clock:
    """A host clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    fake = _Clock()
    monkeypatch.setattr("liteframe.bench.timers.time.perf_counter", fake)
    return fake


def test_stages_are_kept_apart_and_add_up_within_a_run(clock: _Clock) -> None:
    timer = StageTimer()
    for factor in (1, 2):
        with timer.run():
            with timer.stage("encode"):
                clock.now += 0.003 * factor
            clock.now += 0.001
            with timer.stage("prefill"):
                clock.now += 0.002
            with timer.stage("encode"):
                clock.now += 0.001
    assert timer.samples_ms["encode"] == pytest.approx([4, 7])
    assert timer.samples_ms["prefill"] == pytest.approx([2, 2])
    assert timer.run_ms == pytest.approx([7, 10])


def test_a_failed_run_leaves_no_sample_and_the_timer_usable(clock: _Clock) -> None:
    timer = StageTimer()
    with pytest.raises(KeyError), timer.run(), timer.stage("encode"):
        raise KeyError("broken")
    with timer.stage("encode"):
        clock.now += 0.005
    assert timer.samples_ms == {"encode": pytest.approx([5])} and len(timer.run_ms) == 1


def test_nested_and_missing_stages_are_refused(clock: _Clock) -> None:
    timer = StageTimer()
    inside = pytest.raises(RuntimeError, match="'project' opened inside stage 'encode'")
    with inside, timer.run(), timer.stage("encode"), timer.stage("project"):
        pass
    with timer.stage("encode"):
        pass
    with pytest.raises(RuntimeError, match="has the stages"), timer.stage("prefill"):
        pass


def test_cuda_stages_come_from_events_with_one_synchronise_at_each_end(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        count = 0

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            log.append("record")
            Event.count += 1
            self.at = Event.count

        def elapsed_time(self, other: Event) -> float:
            log.append("read")
            return 10.0 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("synchronize"))
    timer = StageTimer("cuda:0")
    with timer.run():
        for name in ("encode", "prefill"):
            with timer.stage(name):
                log.append(name)
    assert log == [
        "synchronize",
        *(["record", "encode", "record", "record", "prefill", "record"]),
        "synchronize",
        "read",
        "read",
    ]
    assert timer.samples_ms == {"encode": [10.0], "prefill": [10.0]}


def test_rule_stops_at_runs_or_seconds_but_not_before_the_least() -> None:
    rule = RunRule(warmup=0, min_runs=5, max_runs=50, max_seconds=5.0)
    assert not rule.enough(4, seconds=9.0, slowest=3.0)
    assert rule.enough(5, seconds=9.0, slowest=3.0)
    assert not rule.enough(49, seconds=1.0, slowest=0.1)
    assert rule.enough(50, seconds=1.0, slowest=0.1)
    assert not rule.enough(2, seconds=12.0, slowest=6.0) and rule.enough(3, seconds=18.0, slowest=6.0)
    assert RunRule.for_device("cuda").warmup == 10 and RunRule.for_device("cpu", max_seconds=1.0).max_seconds == 1.0
    with pytest.raises(ValueError, match="min_runs <= max_runs"):
        RunRule(warmup=0, min_runs=5, max_runs=4)


@pytest.mark.parametrize(("seconds", "runs"), [(0.01, 50), (0.5, 10), (2.0, 5), (6.0, 5)])
def test_measure_counts_its_runs(clock: _Clock, seconds: float, runs: int) -> None:
    calls = []

    def work() -> None:
        calls.append(None)
        clock.now += seconds

    samples = measure(work, warmup=2)
    expected = 3 if seconds > 5 else runs
    assert len(samples) == expected and len(calls) == expected + 2
    assert samples == pytest.approx([1e3 * seconds] * expected)


def test_summary_is_numpys() -> None:
    values = np.random.default_rng(0).exponential(size=37)
    result = summary(values.tolist())
    assert result["median"] == pytest.approx(np.median(values))
    assert (result["p10"], result["p90"]) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))
    assert result["n"] == 37
    with pytest.raises(ValueError, match="no samples"):
        summary([])


@pytest.mark.parametrize("count", [6, 8, 9, 20, 25])
def test_interval_of_a_median_misses_it_as_rarely_as_it_says(count: int) -> None:
    draws = np.random.default_rng(count).exponential(size=(20_000, count))
    ends = np.array([median_interval(list(row)) for row in draws])
    missed = 1.0 - np.mean((ends[:, 0] <= np.log(2.0)) & (np.log(2.0) <= ends[:, 1]))
    assert 0.0 < missed < 0.053
    ordered = np.sort(draws, axis=1)
    rank = int(np.flatnonzero(ordered[0] == ends[0, 0])[0])
    narrower = 1.0 - np.mean((ordered[:, rank + 1] <= np.log(2.0)) & (np.log(2.0) <= ordered[:, -2 - rank]))
    assert narrower > 0.05, "the next pair inwards would miss it too often"


def test_interval_of_few_samples_is_all_of_them() -> None:
    assert median_interval([3.0, 1.0, 2.0, 9.0, 4.0]) == (1.0, 9.0) and median_interval([2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="no samples"):
        median_interval([])
