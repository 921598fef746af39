"""Names of many lines in a picture: a column at the right, a thin leader from each line's end, no name on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TEXT, _LEADER = "#444444", "#BBBBBB"


def spread_apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights near ``places``, in the same order, at least ``gap`` apart and between ``low`` and ``high``.

    Where they do not all fit, the gap is what there is room for.
    """
    if not places:
        return []
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    order = np.argsort(places, kind="stable")
    settled: list[list[float]] = []  # runs of labels that touch: [sum of wished starts, number]
    for rank in order:
        settled.append([float(np.clip(places[rank], low, high)), 1.0])
        while len(settled) > 1 and _start(settled[-2], gap, low, high) + settled[-2][1] * gap > _start(
            settled[-1], gap, low, high
        ):
            total, count = settled.pop()
            before = settled[-1]
            before[0] += total - count * before[1] * gap
            before[1] += count
    heights = [0.0] * len(places)
    rank = 0
    for run in settled:
        for step in range(int(run[1])):
            heights[order[rank]] = _start(run, gap, low, high) + step * gap
            rank += 1
    return heights


def label_column(axes: Axes, ends: Sequence[tuple[float, float, str]], x: float, size: float = 8.0) -> None:
    """Write the name of each line beside its end.

    Args:
        axes: with its limits and scales set for good, since heights are made from them.
        ends: x and y of the line's last point, and its name.
        x: left side of the column, in data.
        size: of the type, points.
    """
    assert axes.figure is not None
    transform = axes.transData
    bottom, top = (float(transform.transform((x, y))[1]) for y in axes.get_ylim())
    heights = [float(transform.transform((end[0], end[1]))[1]) for end in ends]
    pixel = axes.figure.dpi / 72.0
    apart = spread_apart(heights, 1.25 * size * pixel, bottom + size * pixel, top - size * pixel)
    for (end_x, end_y, name), height in zip(ends, apart, strict=True):
        y = float(transform.inverted().transform((0.0, height))[1])
        axes.plot([end_x, x], [end_y, y], color=_LEADER, linewidth=0.6, zorder=5)
        axes.text(x, y, f" {name}", fontsize=size, color=_TEXT, ha="left", va="center_baseline", zorder=60)


def _start(run: Sequence[float], gap: float, low: float, high: float) -> float:
    """Where the lowest label of a run lies: as wished on average, inside the limits."""
    return float(np.clip(run[0] / run[1], low, max(low, high - (run[1] - 1) * gap)))
