from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liteframe.bench.records import RowRecord, rows_of
from liteframe.bench.report import CHANCE, build_report, notes_from, write_report
from liteframe.bench.run_page import draw_frontier, terminal
from liteframe.system.json_files import read_json

Rows = Callable[..., list[RowRecord]]
_STAGES = [{"name": "synth", "seconds": 31.2}, {"name": "ctd", "seconds": 118.0, "steps": 900}]
_LIMITS = {"bf16_gflops": 900.0, "fp32_gflops": 190.0, "bandwidth_gbs": 12.0}


def test_report_on_disk_holds_all_and_reads_back(fake_rows: Rows, tmp_path: Path) -> None:
    rows = fake_rows()
    environment = {"device": "a cpu", "commit": None}
    report = build_report(environment, _STAGES, rows, {"seed": 0}, _LIMITS)
    paths = write_report(report, tmp_path)
    read = read_json(paths["report.json"])
    assert rows_of(read) == rows and read["stages"] == _STAGES and read["limits"] == _LIMITS
    first = read["rows"][0]
    for name in ("arm", "frames", "tokens", "accuracy", "accuracy_low", "accuracy_high", "questions", "encode_ms",
                 "prefill_ms", "model_ms", "total_ms"):  # fmt: skip
        assert name in first
    assert {(m["arm"], m["field"]) for m in read["matched_latency"]} == {
        (method, field) for method in ("liteframe-ctd", "liteframe-lma") for field in ("model_ms", "total_ms")
    }
    page = paths["report.md"].read_text()
    for text in ("At the teacher's time", "milliseconds of a video", "+0.166", "| ctd | 118.0 |", "![", "a cpu"):
        assert text in page
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pareto.png", "report.json", "report.md"]


def test_every_table_of_the_page_is_rectangular(fake_rows: Rows, tmp_path: Path) -> None:
    report = build_report({}, _STAGES, fake_rows(), limits=_LIMITS)
    page = write_report(report, tmp_path)["report.md"].read_text()
    width = 0
    for line in page.splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        width = width or line.count("|")
        assert line.count("|") == width, line


def test_terminal_table_fits(fake_rows: Rows) -> None:
    rows = fake_rows()
    more = [replace(row, frames=row.frames * 64, encode_ms=row.encode_ms * 1000) for row in rows]
    text = terminal(build_report({}, [], [*rows, *more]), [*rows, *more])
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "0.963 ±0.020" in text and "At the teacher's time" in text


def test_a_report_without_students_or_teacher_is_still_a_report(fake_rows: Rows, tmp_path: Path) -> None:
    for wanted in ("teacher", "liteframe-lma", "teacher+max"):
        rows = [row for row in fake_rows() if row.arm == wanted]
        report = build_report({}, [], rows)
        assert report["matched_latency"] == []
        write_report(report, tmp_path)
        assert wanted in terminal(report, rows)
    with pytest.raises(ValueError, match="needs rows"):
        build_report({}, [], [])
    with pytest.raises(ValueError, match="same method and frame count"):
        build_report({}, [], [*rows, rows[0]])


def test_notes_warn(fake_rows: Rows) -> None:
    rows = fake_rows()
    rows[2].spread["model"]["p90"] = 100.0
    rows[3].spread["encode"]["n"] = 3
    for row in rows[8], rows[16]:
        row.accuracy_low = CHANCE
    notes = " ".join(notes_from(rows, {"commit": "a" * 40, "dirty": True}))
    low = ", ".join(f"{row.arm} at {row.frames}" for row in (rows[8], rows[16]))
    assert f"Not above chance (0.25) by the interval: {low} frames." in notes
    assert "Fewer than 5 timed runs: teacher at 64 frames." in notes
    assert "90th percentile is more than 1.5 times the 10th: teacher at 32 frames." in notes
    assert "not committed" in notes


def test_the_picture_has_every_method(fake_rows: Rows, tmp_path: Path) -> None:
    rows = [*fake_rows(), *(replace(row, arm="a new one") for row in fake_rows() if row.arm == "teacher")]
    draw_frontier(rows, tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_tables_and_seeds_need_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, liteframe.bench.report, liteframe.bench.seeds, liteframe.bench.run_page;"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
