"""The picture of latency against frames, log on both axes: what was timed is filled, what was computed is hollow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liteframe.bench.figures import ARM_COLORS, bare, new_figure, plain_log, save
from liteframe.bench.label_column import label_column
from liteframe.bench.latency_record import LatencyRecord, LatencyRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"teacher": "o", "teacher+wap": "s", "student": "*"}
_SPARE = (("#009E73", "^"), ("#CC79A7", "v"), ("#56B4E9", "D"), ("#8C8C8C", "P"))


def plot_latency_over_frames(record: LatencyRecord, path: str | os.PathLike[str], title: str) -> Path | None:
    """Draw the model time and its two large stages, a line an arm; the teacher's context limit is marked.

    Returns:
        the path of the PNG, or None where the record has no whole pipelines.
    """
    rows = [row for row in record.suite("pipeline", batch=1) if row.frames and row.model_ms]
    if not rows:
        return None
    arms = list(dict.fromkeys(row.arm for row in rows))
    spare = iter(_SPARE * len(arms))
    styles = {
        arm: (ARM_COLORS[arm], _MARKERS[arm]) if arm in _MARKERS and arm in ARM_COLORS else next(spare) for arm in arms
    }
    figure = new_figure(13.0, 5.4)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (name, words) in zip(
        panels,
        (("encode", "encode"), ("prefill", "prefill"), ("model", "model: encode + project + prefill")),
        strict=True,
    ):
        for arm in arms:
            _line(axes, [row for row in rows if row.arm == arm], name, *styles[arm])
        _dress(axes, rows, words)
    _mark_context(record, panels[2], rows)
    panels[0].set_ylabel("milliseconds a video")
    _name_lines(record, panels[2], rows, arms)
    figure.suptitle(title, y=0.985)
    from matplotlib.lines import Line2D

    known = [
        Line2D([], [], color=styles[arm][0], marker=styles[arm][1], markersize=7, label=record.label(arm))
        for arm in arms
    ]
    kinds = [
        Line2D([], [], color="#555555", marker="o", linestyle="", label="timed"),
        Line2D([], [], color="#555555", marker="o", linestyle="", markerfacecolor="white", label="computed"),
    ]
    figure.legend(
        handles=[*known, *kinds], loc="lower center", ncols=min(5, len(arms) + 2), frameon=False, fontsize=9.5
    )
    lines = -(-(len(arms) + 2) // 5)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.88, bottom=0.16 + 0.045 * lines, wspace=0.06)
    return save(figure, path)


def _line(axes: Axes, rows: Sequence[LatencyRow], name: str, color: str, marker: str) -> None:
    points = sorted((row.frames or 0, *_value(row, name)) for row in rows)
    axes.plot([p[0] for p in points], [p[1] for p in points], color=color, linewidth=1.6, zorder=10)
    for frames, ms, computed in points:
        axes.plot(
            [frames], [ms], marker=marker, color=color, markersize=11 if marker == "*" else 7,
            markerfacecolor="white" if computed else color, markeredgecolor=color, linestyle="", zorder=20,
        )  # fmt: skip


def _value(row: LatencyRow, name: str) -> tuple[float, bool]:
    if name == "model":
        assert row.model_ms is not None
        return row.model_ms, row.computed
    return row.stages[name].ms, row.stages[name].computed


def _dress(axes: Axes, rows: Sequence[LatencyRow], words: str) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    frames = sorted({row.frames for row in rows if row.frames})
    axes.set_xticks(frames, [str(count) for count in frames])
    axes.xaxis.set_minor_locator(NullLocator())
    plain_log(axes, "y")
    axes.set_xlabel("frames")
    axes.set_title(words, fontsize=10.5)
    bare(axes)


def _mark_context(record: LatencyRecord, axes: Axes, rows: Sequence[LatencyRow]) -> None:
    """A line where the teacher's visual tokens fill the context that the host is used with."""
    limit, about = record.settings.get("context_tokens"), record.arms.get("teacher")
    if not limit or about is None or not about.tokens_per_frame:
        return
    frames = limit / about.tokens_per_frame
    axes.axvline(frames, color="#555555", linestyle=":", linewidth=1.2, zorder=4)
    low = axes.get_ylim()[0]
    axes.text(
        frames * 0.96, low * 1.15, f"teacher's context full:\n{limit:,} tokens", fontsize=8, color="#555555",
        ha="right", va="bottom",
    )  # fmt: skip


def _name_lines(record: LatencyRecord, axes: Axes, rows: Sequence[LatencyRow], arms: Sequence[str]) -> None:
    if len(arms) <= 4:
        return
    last = [max((row for row in rows if row.arm == arm), key=lambda row: row.frames or 0) for arm in arms]
    most = max(row.frames or 1 for row in rows)
    axes.set_xlim(right=most * 8)
    label_column(axes, [(row.frames or 1, row.model_ms or 1.0, record.label(row.arm)) for row in last], most * 1.3)
