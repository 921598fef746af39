"""What `liteframe bench` leaves beside report.json for people: a page of tables and the picture of the frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.bench.methods import in_order, method
from liteframe.bench.records import STAGES, RowRecord
from liteframe.bench.tables import grid, matched, question_count
from liteframe.system.atomic import atomic_open
from liteframe.system.tables import markdown, milliseconds, or_dash


def page(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> str:
    """The whole of ``report.md``; everything else is in ``report.json``."""
    accuracy = grid(rows, lambda row: f"{row.accuracy:.3f} ({row.accuracy_low:.3f} to {row.accuracy_high:.3f})")
    times = [
        [row.arm, row.frames, row.tokens, *map(milliseconds, (*row.stage_ms.values(), row.model_ms, row.total_ms))]
        for row in rows
    ]
    types = sorted({name for row in rows for name in row.per_type})
    by_type = [[row.arm, row.frames, *(or_dash(row.per_type.get(name)) for name in types)] for row in rows]
    stages = [[stage["name"], f"{stage['seconds']:.1f}"] for stage in report["stages"]]
    questions = f"{question_count(rows)} questions, {rows[0].videos} videos; 95 % interval by bootstrap over videos"
    environment = report["environment"]
    tables = {
        f"Accuracy by frames ({questions})": markdown(*accuracy),
        "At the teacher's time": markdown(*matched(report["matched_latency"])),
        "Milliseconds of a video, medians at batch 1": markdown(
            ["method", "frames", "tokens", *STAGES, "model", "end to end"], times
        ),
        "Accuracy by question type": markdown(["method", "frames", *types], by_type),
        "Seconds of the pipeline's stages": markdown(["stage", "seconds"], stages),
        "Notes": "\n".join(f"- {note}" for note in report["notes"]),
    }
    measured_on = (
        f"Measured on: {environment.get('device', 'device not recorded')}, commit {environment.get('commit')}."
    )
    sections = [
        f"## {title}\n\n{table}" for title, table in tables.items() if table.count("\n") > 1 or title == "Notes"
    ]
    picture = "![accuracy against milliseconds a video](pareto.png)"
    return "\n\n".join(["# Latency and accuracy", picture, measured_on, *sections]) + "\n"


def draw_frontier(rows: Sequence[RowRecord], path: Path) -> None:
    """Accuracy against model time, a line a method, its points the frame counts; written whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name in in_order(row.arm for row in rows):
        own = sorted((row for row in rows if row.arm == name), key=lambda row: row.frames)
        low = [max(0.0, row.accuracy - row.accuracy_low) for row in own]
        high = [max(0.0, row.accuracy_high - row.accuracy) for row in own]
        about = method(name)
        x, y = [row.model_ms for row in own], [row.accuracy for row in own]
        axes.errorbar(x, y, [low, high], color=about.colour, marker=about.marker, label=about.label, capsize=2.0)
        for row in own:
            point = (row.model_ms, row.accuracy)
            axes.annotate(str(row.frames), point, (4, -9), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", xlabel="milliseconds a video: encode + project + prefill", ylabel="accuracy")
    axes.set_title("Accuracy against latency (95 % intervals; beside points: frames)", fontsize=11)
    axes.grid(True, which="both", color="#DDDDDD", linewidth=0.7)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    with atomic_open(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
