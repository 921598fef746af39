from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from liteframe.bench.frontier import (
    accuracy_at,
    baseline_shares,
    latency_to_reach,
    matched_latency,
    pareto_front,
    rows_of_method,
    shares,
    speed_ups,
    speed_ups_at_accuracy,
)
from liteframe.bench.records import RowRecord


def _row(method: str, frames: int, model_ms: float, accuracy: float, decode_ms: float = 0.0) -> RowRecord:
    return RowRecord(
        arm=method, frames=frames, tokens=frames, accuracy=accuracy, accuracy_low=accuracy, accuracy_high=accuracy,
        questions=10, videos=5, decode_ms=decode_ms, preprocess_ms=0.0, encode_ms=model_ms / 2, project_ms=0.0,
        prefill_ms=model_ms / 2,
    )  # fmt: skip


_STUDENT = [_row("liteframe-lma", 8, 2.0, 0.6, 8), _row("liteframe-lma", 16, 8.0, 0.8, 8)]
_TEACHER = [_row("teacher", 8, 4.0, 0.5, 8), _row("teacher", 16, 20.0, 0.9, 10), _row("teacher", 32, 1.0, 0.1, 8)]


def test_interpolates_on_the_logarithm_of_latency() -> None:
    middle = accuracy_at(_STUDENT, 4.0)  # half way from 2 to 8 on a log scale
    assert middle.accuracy == pytest.approx(0.7) and middle.where == "interpolated" and middle.frames == (8, 16)
    assert accuracy_at(_STUDENT, 3.0).accuracy == pytest.approx(0.6 + 0.2 * math.log(1.5) / math.log(4))
    exact = accuracy_at(_STUDENT, 8.0)
    assert (exact.accuracy, exact.where, exact.frames) == (0.8, "measured", (16, 16))


def test_outside_the_measured_range_it_says_so() -> None:
    fast, slow = accuracy_at(_STUDENT, 1.9), accuracy_at(_STUDENT, 9.0)
    assert (fast.accuracy, fast.where, fast.frames) == (None, "faster than any row", None)
    assert (slow.accuracy, slow.where, slow.frames) == (0.8, "slowest row", (16, 16))
    with pytest.raises(ValueError, match="no latency"):
        accuracy_at(_STUDENT, 3.0, "frames")


def test_order_of_rows_and_latency_that_falls_with_frames_do_not_matter() -> None:
    odd = [_row("a", 16, 2.0, 0.7), _row("a", 8, 3.0, 0.5)]
    assert accuracy_at(odd, 2.5) == accuracy_at(odd[::-1], 2.5)
    assert 0.5 < (accuracy_at(odd, 2.5).accuracy or 0) < 0.7


def test_matched_latency_by_both_fields() -> None:
    matches = {
        (match["field"], match["baseline_frames"]): match
        for match in matched_latency([*_STUDENT, *_TEACHER], frames=(8, 16, 32))
    }
    assert len(matches) == 6
    assert matches["model_ms", 8]["gain"] == pytest.approx(0.2)
    assert matches["model_ms", 16]["gain"] == pytest.approx(-0.1) and matches["model_ms", 16]["where"] == "slowest row"
    assert matches["model_ms", 32]["gain"] is None and matches["model_ms", 32]["arm_frames"] is None
    total = matches["total_ms", 8]  # 12 ms lies between 10 and 16
    assert total["arm_accuracy"] == pytest.approx(0.6 + 0.2 * math.log(1.2) / math.log(1.6))
    with pytest.raises(ValueError, match="no rows of method 'other'"):
        matched_latency(_STUDENT, method="other")


def test_pareto_front_against_every_pair(fake_rows: Callable[..., list[RowRecord]]) -> None:
    rows = fake_rows()
    beaten = {
        (a.arm, a.frames)
        for a in rows
        for b in rows
        if b.model_ms <= a.model_ms
        and b.accuracy >= a.accuracy
        and (b.model_ms < a.model_ms or b.accuracy > a.accuracy)
    }
    front = pareto_front(rows)
    assert {(row.arm, row.frames) for row in front} == {(row.arm, row.frames) for row in rows} - beaten
    assert [row.model_ms for row in front] == sorted(row.model_ms for row in front)


def test_speed_ups_at_equal_frames_and_at_equal_accuracy() -> None:
    rows = [*_STUDENT, *_TEACHER]
    eight, sixteen = speed_ups(rows)
    assert eight["model"] == pytest.approx(2.0) and eight["total"] == pytest.approx(12 / 10)
    assert sixteen["model"] == pytest.approx(2.5) and sixteen["frames"] == 16
    at = {entry["baseline_frames"]: entry for entry in speed_ups_at_accuracy(rows)}
    assert at[8]["arm_ms"] == pytest.approx(2.0) and at[8]["speed_up"] == pytest.approx(2.0)
    assert at[16]["arm_ms"] is None and at[16]["speed_up"] is None


def test_latency_to_reach_is_the_inverse_of_accuracy_at() -> None:
    for ms in (2.5, 4.0, 7.9):
        reached = latency_to_reach(_STUDENT, accuracy_at(_STUDENT, ms).accuracy or 0)
        assert reached is not None and reached[0] == pytest.approx(ms) and reached[1:] == (8, 16)
    assert latency_to_reach(_STUDENT, 0.81) is None


def test_shares_and_amdahls_ceiling(fake_rows: Callable[..., list[RowRecord]]) -> None:
    parts = shares({"encode": 3.0, "prefill": 1.0})
    assert parts["encode"] == {"share": 0.75, "ceiling": 4.0}
    assert shares({"encode": 1.0})["encode"]["ceiling"] is None
    for entry in baseline_shares(fake_rows()):
        assert sum(part["share"] for part in entry["end_to_end"].values()) == pytest.approx(1)
        assert set(entry["model"]) == {"encode", "project", "prefill"}


def test_two_rows_of_a_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="same frame count"):
        rows_of_method([_STUDENT[0], _STUDENT[0]], "liteframe-lma")
