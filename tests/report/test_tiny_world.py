"""Means of seeds with their intervals, and comparisons at equal time, against the sweep's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from liteframe.bench.frontier import matched_latency
from liteframe.bench.records import RowRecord
from liteframe.bench.report import build_report
from liteframe.errors import DataError
from liteframe.system.json_files import write_json
from report import tiny_world
from report.records import read_records

Rows = Callable[..., list[RowRecord]]


def table_of(folder: Path, *seeds: list[RowRecord]) -> pd.DataFrame:
    """The tidy rows of sweeps with these rows."""
    for seed, rows in enumerate(seeds):
        write_json(folder / f"tiny-seed{seed}" / "report.json", build_report({}, [], rows, {"seed": seed}))
    return tiny_world.sweep_rows(read_records(folder), range(len(seeds)))


def test_rows_of_seeds_become_one(fake_rows: Rows, tmp_path: Path) -> None:
    seeds = [fake_rows(), fake_rows(0.02), fake_rows(-0.02)]
    seeds[1] = [replace(row, encode_ms=row.encode_ms + 3.0) for row in seeds[1]]
    row = tiny_world.mean_rows(table_of(tmp_path, *seeds)).loc["teacher+wap", 16]
    first = next(r for r in seeds[0] if (r.arm, r.frames) == ("teacher+wap", 16))
    assert row.accuracy == pytest.approx(first.accuracy) and row.questions == 3 * first.questions
    assert row.high - row.accuracy == pytest.approx(0.02 / sqrt(3))
    assert row.encode_ms == pytest.approx(first.encode_ms + 1.0) and row.model_ms == pytest.approx(first.model_ms + 1.0)
    assert row.encode_over_floor == pytest.approx(row.encode_ms / row.encode_floor_ms)


def test_interval_of_a_mean_is_that_of_drawing_the_seeds_apart(fake_rows: Rows, tmp_path: Path) -> None:
    centres, spreads = [0.5, 0.6, 0.7], [0.01, 0.02, 0.03]
    ends = [(c - 1.96 * s, c + 1.96 * s) for c, s in zip(centres, spreads, strict=True)]
    first = fake_rows()[0]
    seeds = [
        [replace(first, accuracy=c, accuracy_low=low, accuracy_high=high)]
        for c, (low, high) in zip(centres, ends, strict=True)
    ]
    row = tiny_world.mean_rows(table_of(tmp_path, *seeds)).iloc[0]
    generator = np.random.default_rng(0)
    draws = np.mean([generator.normal(c, s, 200_000) for c, s in zip(centres, spreads, strict=True)], axis=0)
    assert (row.accuracy, row.low, row.high) == pytest.approx((0.6, *np.percentile(draws, [2.5, 97.5])), abs=2e-4)


def test_rows_that_a_seed_lacks_are_left_out_and_named(fake_rows: Rows, tmp_path: Path) -> None:
    fewer = [row for row in fake_rows() if (row.arm, row.frames) != ("teacher", 64)]
    rows = table_of(tmp_path, fake_rows(), fewer)
    assert ("teacher", 64) not in tiny_world.mean_rows(rows).index
    assert tiny_world.left_out(rows) == ["teacher, all tokens at 64"]
    with pytest.raises(DataError, match="no method and frame count in common"):
        tiny_world.mean_rows(table_of(tmp_path, fewer, [replace(row, arm=f"no {row.arm}") for row in fewer]))


def test_budgets_asked_for_need_every_seed(fake_rows: Rows, tmp_path: Path) -> None:
    first, second = ([replace(fake_rows()[0], tokens_asked=n, tokens_mean_over_layers=5.5)] for n in (8, 12))
    row = tiny_world.mean_rows(table_of(tmp_path, first, second)).iloc[0]
    assert (row.tokens_asked, row.tokens_mean_over_layers) == (10, 5.5)
    row = tiny_world.mean_rows(table_of(tmp_path, first, fake_rows()[:1])).iloc[0]
    assert np.isnan(row.tokens_asked) and np.isnan(row.tokens_mean_over_layers)


def test_gains_at_equal_time_are_means_of_the_seeds_own(fake_rows: Rows, tmp_path: Path) -> None:
    slow = [replace(row, encode_ms=4.0 * row.encode_ms) if row.arm == "liteframe-lma" else row for row in fake_rows()]
    seeds = [fake_rows(), slow, fake_rows(0.02)]
    found = tiny_world.equal_time(table_of(tmp_path, *seeds)).set_index(["method", "by", "teacher_frames"])
    for by, field in (("model", "model_ms"), ("end to end", "total_ms")):
        for frames in (8, 16, 32, 64):
            matches = [
                match
                for rows in seeds
                for match in matched_latency(rows)
                if (match["field"], match["baseline_frames"]) == (field, frames)
            ]
            row = found.loc["liteframe-lma", by, frames]
            if any(match["gain"] is None for match in matches):
                assert np.isnan(row.gain)
            else:
                assert row.gain == pytest.approx(np.mean([match["gain"] for match in matches]))
                assert row.lowest == pytest.approx(min(match["gain"] for match in matches))
            assert row.at_least == any(match["where"] == "slowest row" for match in matches)


def test_noisy_cells_are_counted_by_seed(fake_rows: Rows, tmp_path: Path) -> None:
    first, second = fake_rows(), fake_rows(0.02)
    for row in second[:2]:
        row.spread["model"]["p90"] = 1000.0
    assert tiny_world.noisy_cells(table_of(tmp_path, first, second)) == [0, 2]
