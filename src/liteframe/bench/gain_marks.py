"""Dotted lines in the frontier's picture: what the student gains over the teacher at equal latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from liteframe.bench.frontier import matched_latency, rows_of_arm
from liteframe.bench.label_places import Box, cost
from liteframe.bench.records import RowRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST_SHOWN = 0.03
_SIDES: tuple[tuple[float, Literal["left", "right"]], ...] = ((1.02, "left"), (1 / 1.02, "right"))


def halo() -> list[Any]:
    """A white rim, so that text over a line can be read."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]


def mark_gains(axes: Axes, rows: Sequence[RowRecord], field: str, renderer: Any, obstacles: np.ndarray) -> list[Box]:
    """A dotted line from the teacher's two fastest rows up to the student at equal latency.

    Args:
        axes: of the picture, with its limits set.
        rows: of all arms; nothing is drawn without teacher and adapted student.
        field: which latency.
        renderer: that measures texts.
        obstacles: pixels (n, 2) that the texts should keep off.

    Returns:
        the boxes of the texts, pixels.
    """
    boxes: list[Box] = []
    if not {"teacher", "liteframe-lma"} <= {row.arm for row in rows}:
        return boxes
    frames = [row.frames for row in rows_of_arm(rows, "teacher")[:2]]
    for match in matched_latency(rows, frames=frames, fields=(field,)):
        if match["gain"] is None or match["gain"] < _SMALLEST_SHOWN:
            continue
        low, high = match["baseline_accuracy"], match["arm_accuracy"]
        axes.plot([match["ms"]] * 2, [low, high], color="#555555", linestyle=":", linewidth=1.3, zorder=9)
        text = axes.text(
            match["ms"], low, f"{match['gain']:+.2f}", fontsize=9, color="#555555", va="center", zorder=59,
            path_effects=halo(),
        )  # fmt: skip
        frame = axes.get_window_extent(renderer)
        tried: list[tuple[float, int, Box, float, float, Literal["left", "right"]]] = []
        for height in (0.6, 0.4, 0.5, 0.75, 0.3, 0.85, 0.2):
            for factor, side in _SIDES:
                x, y = match["ms"] * factor, low + height * (high - low)
                text.set_position((x, y))
                text.set_horizontalalignment(side)
                extent = text.get_window_extent(renderer)
                box = (extent.x0, extent.y0, extent.x1, extent.y1)
                tried.append((cost(box, obstacles, boxes, frame), len(tried), box, x, y, side))
        _, _, box, x, y, side = min(tried)
        text.set_position((x, y))
        text.set_horizontalalignment(side)
        boxes.append(box)
    return boxes
