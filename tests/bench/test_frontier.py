from __future__ import annotations

import math

import pytest

from liteframe.bench.frontier import matched_latency, weights_at
from liteframe.bench.records import RowRecord


def _row(method: str, frames: int, model_ms: float, accuracy: float, decode_ms: float = 0.0) -> RowRecord:
    return RowRecord(
        arm=method, frames=frames, tokens=frames, accuracy=accuracy, accuracy_low=accuracy, accuracy_high=accuracy,
        questions=10, videos=5, decode_ms=decode_ms, preprocess_ms=0.0, encode_ms=model_ms / 2, project_ms=0.0,
        prefill_ms=model_ms / 2,
    )  # fmt: skip


_STUDENT = [_row("liteframe-lma", 8, 2.0, 0.6, 8), _row("liteframe-lma", 16, 8.0, 0.8, 8)]
_TEACHER = [_row("teacher", 8, 4.0, 0.5, 8), _row("teacher", 16, 20.0, 0.9, 10), _row("teacher", 32, 1.0, 0.1, 8)]


_TIMES = {8: 2.0, 16: 8.0}


def test_interpolates_on_the_logarithm_of_latency() -> None:
    weights, where = weights_at(_TIMES, 4.0)  # half way from 2 to 8 on a log scale
    assert where == "interpolated" and weights == pytest.approx({8: 0.5, 16: 0.5})
    assert weights_at(_TIMES, 3.0)[0][16] == pytest.approx(math.log(1.5) / math.log(4))
    assert weights_at(_TIMES, 8.0) == ({16: 1.0}, "measured")


def test_outside_the_measured_range_it_says_so() -> None:
    assert weights_at(_TIMES, 1.9) == ({}, "faster than any row")
    assert weights_at(_TIMES, 9.0) == ({16: 1.0}, "slowest row")
    for times, ms in (({}, 1.0), (_TIMES, 0.0)):
        with pytest.raises(ValueError, match="needs rows and a latency above 0"):
            weights_at(times, ms)


def test_order_of_rows_and_latency_that_falls_with_frames_do_not_matter() -> None:
    odd = {16: 2.0, 8: 3.0}
    assert weights_at(odd, 2.5) == weights_at(dict(reversed(odd.items())), 2.5)
    assert 0 < weights_at(odd, 2.5)[0][16] < 1


def test_matched_latency_by_both_fields() -> None:
    matches = {(match["field"], match["baseline_frames"]): match for match in matched_latency([*_STUDENT, *_TEACHER])}
    assert len(matches) == 6
    assert matches["model_ms", 8]["gain"] == pytest.approx(0.2)
    assert matches["model_ms", 16]["gain"] == pytest.approx(-0.1) and matches["model_ms", 16]["where"] == "slowest row"
    assert matches["model_ms", 16]["arm_frames"] == [16, 16]
    assert matches["model_ms", 32]["gain"] is None and matches["model_ms", 32]["arm_frames"] is None
    total = matches["total_ms", 8]  # 12 ms lies between 10 and 16
    assert total["arm_accuracy"] == pytest.approx(0.6 + 0.2 * math.log(1.2) / math.log(1.6))
    assert total["arm_frames"] == [8, 16]
    assert matched_latency(_STUDENT) == matched_latency(_TEACHER) == []
