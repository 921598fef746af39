"""The picture of latency against frames, log on both axes: what was timed is filled, what was computed is hollow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from liteframe.bench.arm_names import real_arm_name
from liteframe.bench.figures import ARM_COLORS, bare, new_figure, plain_log, save
from liteframe.bench.label_column import label_column
from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.stage_bars import LONGEST_IN_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRONG = {"teacher": ("o", 3.6), "teacher+wap": ("s", 2.4), "student": ("*", 1.4)}
"""Marker and width: earlier arms wider, so that a line which covers another leaves a rim of it."""
_RIVAL, _ON_TOP = "#A6A6A6", "#808080"
_DASHED = (1.8, (0, (2.0, 2.0)))
"""Width, and style of a line that would be hidden."""
_SEEN = 0.05
"""Lines nearer than this share of a time lie on each other in the picture."""
_PANELS = {"encode": "encode", "prefill": "prefill", "model": "model: encode + project + prefill"}


@dataclass(frozen=True)
class _Point:
    frames: int
    time: float
    computed: bool


def plot_latency_over_frames(record: LatencyRecord, path: str | os.PathLike[str], title: str) -> Path | None:
    """Draw the model time and its two large stages, a line an arm; the teacher's context limit is marked.

    Encoding goes on to the frame counts at which only encoders were run. Arms beside teacher, teacher + WAP and student
    are grey, with their names at the right of every panel, and dashed on top of a coloured line that would hide them.
    Seconds where a time exceeds 10,000 ms.

    Returns:
        the path of the PNG, or None where the record has no whole pipelines.
    """
    rows = [row for row in record.suite("pipeline", batch=1) if row.frames and row.model_ms]
    if not rows:
        return None
    arms = list(dict.fromkeys(row.arm for row in rows))
    lines = {
        name: {arm: _points(record, [row for row in rows if row.arm == arm], name) for arm in arms} for name in _PANELS
    }
    longest = max(point.time for panel in lines.values() for points in panel.values() for point in points)
    in_seconds = longest > LONGEST_IN_MS
    figure = new_figure(16.0, 5.6)
    panels = figure.subplots(1, 3, sharey=True)
    hidden = False
    for axes, (name, words) in zip(panels, _PANELS.items(), strict=True):
        if in_seconds:
            lines[name] = {arm: [replace(p, time=p.time / 1e3) for p in found] for arm, found in lines[name].items()}
        strong = [points for arm, points in lines[name].items() if arm in _STRONG]
        for arm, points in lines[name].items():
            covered = arm not in _STRONG and any(_coincide(points, other) for other in strong)
            _line(axes, points, arm, covered)
            hidden = hidden or covered
        _dress(axes, sorted({point.frames for points in lines[name].values() for point in points}), words)
    # All panels share the axis of times, so names are placed once it has its last limits.
    for axes, panel in zip(panels, lines.values(), strict=True):
        _name_lines(axes, {arm: points[-1] for arm, points in panel.items() if points and arm not in _STRONG})
    panels[0].set_ylabel(f"{'seconds' if in_seconds else 'milliseconds'} a video")
    _mark_context(record, panels[2], max(row.frames or 0 for row in rows))
    figure.suptitle(title, y=0.985)
    _legend(figure, arms, hidden)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.88, bottom=0.19, wspace=0.06)
    return save(figure, path)


def _frames(point: _Point) -> int:
    return point.frames


def _points(record: LatencyRecord, rows: Sequence[LatencyRow], name: str) -> list[_Point]:
    if name == "model":
        found = {row.frames: (row.model_ms, row.any_computed) for row in rows}
    else:
        found = {row.frames: (row.stages[name].ms, row.stages[name].computed) for row in rows}
    if name == "encode":
        most = max(row.frames or 0 for row in rows)
        found |= {
            row.frames: (row.stages[name].ms, row.stages[name].computed)
            for row in record.suite("encoder", rows[0].arm, batch=1)
            if (row.frames or 0) > most and name in row.stages
        }
    points = [_Point(frames, ms, computed) for frames, (ms, computed) in found.items() if frames and ms]
    return sorted(points, key=_frames)


def _coincide(points: Sequence[_Point], others: Sequence[_Point]) -> bool:
    """Whether a line lies on another, as far as one sees on an axis of decades, wherever both have points."""
    times = {point.frames: point.time for point in others}
    ratios = [point.time / times[point.frames] for point in points if point.frames in times]
    return bool(ratios) and all(abs(ratio - 1.0) < _SEEN for ratio in ratios)


def _line(axes: Axes, points: Sequence[_Point], arm: str, on_top: bool = False) -> None:
    strong = arm in _STRONG
    marker, width = _STRONG.get(arm, ("o", 0.9))
    color = ARM_COLORS[arm] if strong else _ON_TOP if on_top else _RIVAL
    size = (8 if marker == "*" else 5) + 1.8 * width if strong else 3.5
    order = 10 if strong else 30 if on_top else 5
    width, style = _DASHED if on_top else (width, "-")
    axes.plot(
        [p.frames for p in points], [p.time for p in points], color=color, linewidth=width, linestyle=style,
        zorder=order,
    )  # fmt: skip
    for point in points:
        axes.plot(
            [point.frames], [point.time], marker=marker, color=color, markersize=size, linestyle="", zorder=2 * order,
            markerfacecolor="white" if point.computed else color, markeredgecolor=color,
        )  # fmt: skip


def _dress(axes: Axes, frames: Sequence[int], words: str) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    shown = frames if len(frames) <= 7 else frames[::2]
    axes.set_xticks(list(shown), [str(count) for count in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    plain_log(axes, "y")
    axes.set_xlabel("frames")
    axes.set_title(words, fontsize=10.5)
    bare(axes)


def _mark_context(record: LatencyRecord, axes: Axes, most: int) -> None:
    """A line where the teacher's visual tokens fill the host's context, if the picture goes so far."""
    limit, about = record.settings.get("context_tokens"), record.arms.get("teacher")
    if not limit or about is None or not about.tokens_per_frame:
        return
    frames = limit / about.tokens_per_frame
    if frames > most:
        return
    axes.axvline(frames, color="#555555", linestyle=":", linewidth=1.2, zorder=4)
    axes.annotate(
        f"teacher's context full:\n{limit:,} tokens", (frames, 0.02), xycoords=("data", "axes fraction"),
        xytext=(5, 0), textcoords="offset points", fontsize=8, color="#555555", va="bottom",
    )  # fmt: skip


def _name_lines(axes: Axes, last: dict[str, _Point]) -> None:
    """The names of lines in a column at the right, each with a leader from its last point."""
    if not last:
        return
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.65)
    ends = [(point.frames, point.time, real_arm_name(arm)) for arm, point in last.items()]
    label_column(axes, ends, high * (high / low) ** 0.04, size=7.5)


def _legend(figure: Figure, arms: Sequence[str], hidden: bool) -> None:
    from matplotlib.lines import Line2D

    known = [
        Line2D([], [], color=ARM_COLORS[arm], marker=marker, markersize=8, linewidth=width, label=real_arm_name(arm))
        for arm, (marker, width) in _STRONG.items()
        if arm in arms
    ]
    kinds = [
        Line2D([], [], color="#555555", marker="o", linestyle="", label="timed"),
        Line2D(
            [],
            [],
            color="#555555",
            marker="o",
            linestyle="",
            markerfacecolor="white",
            label="computed, all or part of it",
        ),
    ]
    if hidden:
        kinds.append(
            Line2D(
                [],
                [],
                color=_ON_TOP,
                linewidth=_DASHED[0],
                linestyle=_DASHED[1],
                label="another arm on a coloured line",
            )
        )
    handles = [*known, *kinds]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9.5)
