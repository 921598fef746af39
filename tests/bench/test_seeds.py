from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liteframe.bench.records import RowRecord
from liteframe.bench.report import build_report
from liteframe.bench.seeds import seeds_command, seeds_table, summarise_seeds, targets_check
from liteframe.errors import DataError
from liteframe.system.json_files import read_json, write_json

Rows = Callable[..., list[RowRecord]]


def _write(folder: Path, rows: list[RowRecord], seed: int) -> str:
    return str(write_json(folder / f"{seed}.json", build_report({"device": "cpu"}, [], rows, {"seed": seed})))


def _with_accuracy(rows: list[RowRecord], method: str, frames: int, accuracy: float) -> list[RowRecord]:
    cell = (method, frames)
    return [
        replace(row, accuracy=accuracy, accuracy_low=accuracy, accuracy_high=accuracy)
        if (row.arm, row.frames) == cell
        else row
        for row in rows
    ]


def test_means_and_lowest_seed(fake_rows: Rows, tmp_path: Path) -> None:
    paths = [_write(tmp_path, fake_rows(shift), seed) for seed, shift in enumerate((0.0, 0.01, -0.01))]
    summary = summarise_seeds(paths)
    row = next(row for row in summary["rows"] if (row["arm"], row["frames"]) == ("teacher", 8))
    assert row["accuracy"] == pytest.approx(0.724) and row["lowest"] == pytest.approx(0.714)
    assert row["questions"] == 4800 and summary["seeds"] == ["seed 0", "seed 1", "seed 2"]
    assert summary["reached"] and summary["left_out"] == []
    gains = {(match["field"], match["frames"]): match for match in summary["matched_latency"]}
    assert gains["model_ms", 8]["mean"] == pytest.approx(0.166, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "reached"),
    [((0.94, 0.94, 0.94), True), ((0.92, 0.96, 0.94), True), ((0.919, 0.97, 0.97), False), ((0.93, 0.93, 0.95), False)],
)
def test_a_target_needs_the_mean_and_every_seed_near(fake_rows: Rows, values: tuple[float, ...], reached: bool) -> None:
    reports = [build_report({}, [], _with_accuracy(fake_rows(), "teacher", 64, value)) for value in values]
    checks = {check["target"]: check for check in targets_check(reports)}
    assert checks["teacher at 64 frames"]["reached"] is reached
    assert checks["teacher at 64 frames"]["values"] == list(values)


def test_each_target_can_fail(fake_rows: Rows) -> None:
    changes = {
        "liteframe-ctd minus teacher+wap at 16 frames": ("liteframe-ctd", 16, 0.52),
        "liteframe-lma at 64 frames": ("liteframe-lma", 64, 0.89),
        "liteframe-lma at 128 frames": ("liteframe-lma", 128, 0.92),
        "liteframe-lma's gain at the model time of the teacher's 8 frames": ("teacher", 8, 0.80),
        "liteframe-lma's gain at the model time of the teacher's 16 frames": ("teacher", 16, 0.89),
    }
    for name, change in changes.items():
        report = build_report({}, [], _with_accuracy(fake_rows(), *change))
        failed = [check["target"] for check in targets_check([report]) if not check["reached"]]
        assert name in failed and len(failed) <= 2


def test_a_figure_that_is_missing_is_not_reached(fake_rows: Rows) -> None:
    rows = [row for row in fake_rows() if row.arm != "liteframe-lma"]
    checks = {check["target"]: check for check in targets_check([build_report({}, [], rows)])}
    assert checks["liteframe-lma at 64 frames"] == {
        "target": "liteframe-lma at 64 frames", "least": 0.9, "values": [None], "mean": None, "lowest": None,
        "reached": False,
    }  # fmt: skip


def test_command_writes_a_record_and_prints(
    fake_rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = [_write(tmp_path, fake_rows(), seed) for seed in (0, 1)]
    assert seeds_command(good) == 0
    record = read_json("runs/seeds.json")
    assert record["kind"] == "seeds" and record["environment"]["seed 1"] == {"device": "cpu"} and record["reached"]
    printed = capsys.readouterr().out
    assert "mean of 2 seeds" in printed and "NOT reached" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 100
    bad = _write(tmp_path, _with_accuracy(fake_rows(), "teacher", 64, 0.8), 2)
    assert seeds_command([*good, bad], output="out.json") == 1
    assert "NOT reached" in capsys.readouterr().out and Path("out.json").exists()


def test_reports_that_do_not_fit_are_refused(fake_rows: Rows, tmp_path: Path) -> None:
    first = _write(tmp_path, fake_rows(), 0)
    with pytest.raises(DataError, match="each seed once"):
        summarise_seeds([first, first])
    teacher = _write(tmp_path, [row for row in fake_rows() if row.arm == "teacher"], 1)
    summary = summarise_seeds([first, teacher])
    assert "liteframe-lma at 64" in summary["left_out"] and "left out" in seeds_table(summary)
    (tmp_path / "broken.json").write_text("[]")
    with pytest.raises(DataError, match=r"broken\.json"):
        summarise_seeds([str(tmp_path / "broken.json")])
