"""What `liteframe bench` tells people beside report.json: tables, for a page and for the terminal, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.bench.methods import in_order, method
from liteframe.bench.records import RowRecord
from liteframe.system.atomic import atomic_open
from liteframe.system.tables import aligned, markdown, milliseconds, or_dash, signed

Table = tuple[list[str], list[list[str]]]
"""Header and lines."""
AT_EQUAL_TIME = "At the teacher's time"


def tables(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> dict[str, Table]:
    """All tables by title, no wider than 100 columns but that of question types; empty ones are left out."""
    about = f"{rows[0].questions:,} questions, {rows[0].videos} videos; ± half of a 95 % interval"
    cells = ["method", "frames", "tokens", "accuracy", "encode", "prefill", "model", "end to end"]
    matches = ["method", "by", "teacher's frames", "ms", "accuracy", "gain", "found"]
    types = sorted({name for row in rows for name in row.per_type})
    by_type = [[row.arm, str(row.frames), *(or_dash(row.per_type.get(name)) for name in types)] for row in rows]
    stages = [[stage["name"], f"{stage['seconds']:.1f}"] for stage in report["stages"]]
    found = {
        f"Accuracy ({about}), milliseconds of a video": (cells, [_cell(row) for row in rows]),
        AT_EQUAL_TIME: (matches, [_match(match) for match in report["matched_latency"]]),
        "Accuracy by question type": (["method", "frames", *types], by_type if types else []),
        "Seconds of the pipeline's stages": (["stage", "seconds"], stages),
    }
    return {title: table for title, table in found.items() if table[1]}


def _cell(row: RowRecord) -> list[str]:
    accuracy = f"{row.accuracy:.3f} ±{(row.accuracy_high - row.accuracy_low) / 2:.3f}"
    times = map(milliseconds, (row.encode_ms, row.prefill_ms, row.model_ms, row.total_ms))
    return [row.arm, str(row.frames), str(row.tokens), accuracy, *times]


def _match(match: Mapping[str, Any]) -> list[str]:
    by = "model" if match["field"] == "model_ms" else "end to end"
    reached = [or_dash(match["arm_accuracy"]), signed(match["gain"]), match["where"]]
    return [match["arm"], by, str(match["baseline_frames"]), milliseconds(match["ms"]), *reached]


def page(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> str:
    """The whole of ``report.md``; everything else is in ``report.json``."""
    environment = report["environment"]
    sections = {title: markdown(*table) for title, table in tables(report, rows).items()}
    sections["Notes"] = "\n".join(f"- {note}" for note in report["notes"])
    head = [
        "# Latency and accuracy",
        "![accuracy against milliseconds a video](pareto.png)",
        f"Measured on: {environment.get('device', 'device not recorded')}, commit {environment.get('commit')}.",
    ]
    return "\n\n".join([*head, *(f"## {title}\n\n{text}" for title, text in sections.items() if text)]) + "\n"


def terminal(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> str:
    """The first table, and that at equal time where there is one."""
    first, *others = tables(report, rows).items()
    shown = [first, *(other for other in others if other[0] == AT_EQUAL_TIME)]
    return "\n\n".join(f"{title}\n{aligned(*table)}" for title, table in shown)


def draw_frontier(rows: Sequence[RowRecord], path: Path) -> None:
    """Accuracy against model time, a line a method, its points the frame counts; written whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

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
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.6)))
    axes.set_title("Accuracy against latency (95 % intervals; beside points: frames)", fontsize=11)
    axes.grid(True, which="both", color="#DDDDDD", linewidth=0.7)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    with atomic_open(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
