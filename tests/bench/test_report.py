from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liteframe.bench.frontier import matched_latency
from liteframe.bench.label_places import Box
from liteframe.bench.notes import notes_from
from liteframe.bench.plots import plot_frontier
from liteframe.bench.records import RowRecord, read_json, rows_of
from liteframe.bench.report import build_report, table_text, write_report
from liteframe.bench.seed_means import mean_rows

Rows = Callable[..., list[RowRecord]]
_STAGES = [{"name": "synth", "seconds": 31.2}, {"name": "ctd", "seconds": 118.0, "steps": 900}]
_LIMITS = {"bf16_gflops": 900.0, "fp32_gflops": 190.0, "bandwidth_gbs": 12.0}


def test_report_on_disk_holds_all_and_reads_back(fake_rows: Rows, tmp_path: Path) -> None:
    rows = fake_rows()
    environment = {"device": "a cpu", "commit": None}
    report = build_report(environment, _STAGES, rows, {"seed": 0}, _LIMITS, ["latency.json"], chance=0.25)
    paths = write_report(report, tmp_path)
    read = read_json(paths["report.json"])
    assert rows_of(read) == rows and read["stages"] == _STAGES and read["records"] == ["latency.json"]
    first = read["rows"][0]
    for name in ("arm", "frames", "tokens", "accuracy", "accuracy_low", "accuracy_high", "questions", "encode_ms",
                 "prefill_ms", "model_ms", "total_ms"):  # fmt: skip
        assert name in first
    assert {(m["arm"], m["field"]) for m in read["matched_latency"]} == {
        (arm, field) for arm in ("liteframe-ctd", "liteframe-lma") for field in ("model_ms", "total_ms")
    }
    page = paths["report.md"].read_text()
    for text in (
        "At equal latency",
        "Where the time goes",
        "+0.166",
        "| ctd | 118.0 | 900 |",
        "900 GFLOP/s",
        "seed: 0",
    ):
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
    text = table_text(build_report({}, [], [*rows, *more]))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "0.963" in text and "liteframe-lma at equal latency" in text


def test_a_report_without_students_or_teacher_is_still_a_report(fake_rows: Rows, tmp_path: Path) -> None:
    for wanted in ("teacher", "liteframe-lma", "teacher+max"):
        rows = [row for row in fake_rows() if row.arm == wanted]
        report = build_report({}, [], rows)
        assert report["matched_latency"] == []
        write_report(report, tmp_path)
        assert wanted in table_text(report)
    with pytest.raises(ValueError, match="needs rows"):
        build_report({}, [], [])
    with pytest.raises(ValueError, match="same arm and frame count"):
        build_report({}, [], [*rows, rows[0]])
    with pytest.raises(ValueError, match="'name' and 'seconds'"):
        build_report({}, [{"name": "x"}], rows)


def test_notes_tell_losses(fake_rows: Rows) -> None:
    notes = " ".join(notes_from(fake_rows(), {"commit": "a" * 40, "dirty": True}, chance=0.46))
    assert "teacher + WAP is 0.009 below teacher + max" in notes and "-0.014 at 64*" in notes
    assert (
        "Of 3 other ways to reduce the teacher's tokens, above teacher + WAP in the mean: teacher + max (+0.009)."
        in notes
    )
    assert "0.013 below the teacher's best" in notes
    assert "+0.166 by model time, of which +0.126 is left end to end" in notes
    assert "Not above chance (0.46) by the interval: teacher + max at 8" in notes
    assert "not committed" in notes


def test_notes_tell_noise(fake_rows: Rows) -> None:
    rows = [row for row in fake_rows() if row.arm == "teacher"]
    rows[1] = replace(rows[1], encode_ms=0.1, prefill_ms=0.1)
    rows[2].spread["model"]["p90"] = 100.0
    rows[3].spread["encode"]["n"] = 3
    notes = " ".join(notes_from(rows))
    assert "teacher, all tokens took less model time at 16 frames" in notes
    assert "1 of 4 cells have fewer than 5 timed runs" in notes
    assert "In 1 of 4 cells the model time's 90th percentile" in notes and "teacher, all tokens at 32" in notes


def test_notes_of_means_tell_the_seeds_gains_and_their_noise(fake_rows: Rows) -> None:
    slow = [replace(row, encode_ms=4.0 * row.encode_ms) if row.arm == "liteframe-lma" else row for row in fake_rows()]
    seeds = [fake_rows(), slow, fake_rows(0.02)]
    for row in seeds[2][:2]:
        row.spread["model"]["p90"] = 1000.0
    gains = [next(m["gain"] for m in matched_latency(rows, frames=(16,), fields=("model_ms",))) for rows in seeds]
    rows = mean_rows(seeds)
    notes = " ".join(notes_from(rows, seeds=seeds))
    assert f"At the teacher's 16 frames the gain is {sum(gains) / 3:+.3f} by model time" in notes
    assert "In 0, 0, 2 of 30 cells of the seeds, each alone, the model time's 90th percentile" in notes
    own = next(m["gain"] for m in matched_latency(rows, frames=(16,), fields=("model_ms",)))
    assert abs(own - sum(gains) / 3) > 0.001, "the gain of the means is another number"


def test_notes_name_budgets_beside_ranks(fake_rows: Rows) -> None:
    def dearer(row: RowRecord) -> list[RowRecord]:
        if row.arm != "teacher+max":
            return [row]
        inside = replace(row, arm="teacher+fastv", tokens=16 * row.frames, tokens_mean_over_layers=6.0 * row.frames)
        return [row, inside, replace(row, arm="tome-teacher+wap", accuracy=0.1)]

    notes = " ".join(notes_from([new for row in fake_rows() for new in dearer(row)]))
    assert "Of 5 other ways" in notes
    assert "teacher + FastV (+0.009, with 6 times its tokens)" in notes and "teacher + max (+0.009)" in notes
    assert "below teacher + FastV (which gives the LLM 6 times its tokens) in the mean" in notes
    assert "above teacher with ToMe inside + WAP in the mean" in notes


def test_labels_of_the_picture_do_not_overlap(fake_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    overlaps: list[tuple[str, str]] = []
    labelled: list[str] = []
    save = Figure.savefig

    def inspect(figure: Figure, *arguments: object, **settings: object) -> None:
        renderer = figure.canvas.get_renderer()
        for axes in figure.axes:
            boxes: list[tuple[str, Box]] = []
            for text in axes.texts:
                extent = text.get_window_extent(renderer)
                boxes.append((text.get_text(), (extent.x0, extent.y0, extent.x1, extent.y1)))
            labelled.extend(text for text, _ in boxes)
            overlaps.extend(
                (a, b)
                for i, (a, p) in enumerate(boxes)
                for b, q in boxes[:i]
                if p[0] + 2 < q[2] and q[0] + 2 < p[2] and p[1] + 2 < q[3] and q[1] + 2 < p[3]
            )
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", inspect)
    path = plot_frontier(fake_rows(), tmp_path / "pareto.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert not overlaps
    strong = sum(row.arm in ("teacher", "teacher+wap", "liteframe-ctd", "liteframe-lma") for row in fake_rows())
    assert len(labelled) >= 2 * strong


def test_tables_and_seeds_need_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, liteframe.bench.report, liteframe.bench.seeds, liteframe.bench.plots;"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_many_arms_are_grey_and_named_once_a_panel(
    fake_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    rows = fake_rows()
    rivals = [f"teacher+rival{i}" for i in range(14)]
    base = [row for row in rows if row.arm == "teacher+max"]
    for i, arm in enumerate(rivals):
        rows += [replace(row, arm=arm, accuracy_low=0.0, accuracy=row.accuracy - 0.004 * i) for row in base]
    seen: list[list[tuple[str, Box]]] = []
    save = Figure.savefig

    def inspect(figure: Figure, *arguments: object, **settings: object) -> None:
        renderer = figure.canvas.get_renderer()
        for axes in figure.axes:
            extents = [(text.get_text().strip(), text.get_window_extent(renderer)) for text in axes.texts]
            seen.append([(text, (e.x0, e.y0, e.x1, e.y1)) for text, e in extents])
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", inspect)
    plot_frontier(rows, tmp_path / "pareto.png")
    for panel in seen:
        names = [
            (text, box) for text, box in panel if text.startswith("rival") or text in ("max", "average", "subsample")
        ]
        assert sorted(text for text, _ in names) == sorted([a[8:] for a in rivals] + ["average", "max", "subsample"])
        assert all(p[1] >= q[3] or q[1] >= p[3] for i, (_, p) in enumerate(names) for _, q in names[:i])
