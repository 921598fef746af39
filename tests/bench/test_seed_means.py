from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from liteframe.bench.records import RowRecord
from liteframe.bench.seed_means import left_out, mean_interval, mean_rows
from liteframe.errors import DataError

Rows = Callable[..., list[RowRecord]]


def test_interval_of_a_mean_is_that_of_drawing_the_seeds_apart() -> None:
    generator = np.random.default_rng(0)
    centres, spreads = [0.5, 0.6, 0.7], [0.01, 0.02, 0.03]
    draws = np.mean([generator.normal(c, s, 200_000) for c, s in zip(centres, spreads, strict=True)], axis=0)
    low, high = np.percentile(draws, [2.5, 97.5])
    ends = [(c - 1.96 * s, c + 1.96 * s) for c, s in zip(centres, spreads, strict=True)]
    found = mean_interval(centres, [e[0] for e in ends], [e[1] for e in ends])
    assert found == pytest.approx((0.6, low, high), abs=2e-4)


def test_interval_of_one_is_its_own_and_stays_a_share() -> None:
    assert mean_interval([0.5], [0.4], [0.7]) == pytest.approx((0.5, 0.4, 0.7))
    assert mean_interval([1.0, 0.99], [0.9, 0.9], [1.0, 1.0])[2] <= 1.0
    with pytest.raises(ValueError, match="as many"):
        mean_interval([0.5, 0.5], [0.4], [0.6])


def test_rows_of_seeds_become_one(fake_rows: Rows) -> None:
    seeds = [fake_rows(), fake_rows(0.02), fake_rows(-0.02)]
    seeds[1] = [replace(row, encode_ms=row.encode_ms + 3.0) for row in seeds[1]]
    mean = {(row.arm, row.frames): row for row in mean_rows(seeds)}
    row, first = mean["teacher+wap", 16], next(r for r in seeds[0] if (r.arm, r.frames) == ("teacher+wap", 16))
    assert row.accuracy == pytest.approx(first.accuracy) and row.questions == 3 * first.questions
    assert row.accuracy_high - row.accuracy == pytest.approx(0.02 / sqrt(3))
    assert row.encode_ms == pytest.approx(first.encode_ms + 1.0) and row.model_ms == pytest.approx(first.model_ms + 1.0)
    assert row.floor["encode"]["times_floor"] == pytest.approx(row.encode_ms / row.floor["encode"]["floor_ms"])


def test_rows_that_a_seed_lacks_are_left_out_and_named(fake_rows: Rows) -> None:
    fewer = [row for row in fake_rows() if (row.arm, row.frames) != ("teacher", 64)]
    mean = mean_rows([fake_rows(), fewer])
    assert ("teacher", 64) not in {(row.arm, row.frames) for row in mean}
    assert left_out([fake_rows(), fewer]) == ["teacher at 64"]
    with pytest.raises(DataError, match="no arm and frame count in common"):
        mean_rows([fewer, [replace(row, arm="other") for row in fewer]])


def test_budgets_asked_for_need_every_seed(fake_rows: Rows) -> None:
    seeds = [fake_rows(), fake_rows()]
    asked = (
        [replace(row, tokens_asked=count + 8, tokens_mean_over_layers=5.5) for row in seeds[0]] for count in (0, 4)
    )
    first, second = asked
    assert {(row.tokens_asked, row.tokens_mean_over_layers) for row in mean_rows([first, second])} == {(10, 5.5)}
    assert {(row.tokens_asked, row.tokens_mean_over_layers) for row in mean_rows([first, seeds[1]])} == {(None, None)}
