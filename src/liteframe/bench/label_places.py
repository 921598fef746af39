"""Where a label in a picture covers nothing: candidate boxes around a point, and what each would cover (pixels)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from liteframe.bench.records import RowRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""left, bottom, right, top"""


def pixels(axes: Axes, rows: Sequence[RowRecord], field: str) -> np.ndarray:
    """Where the points of ``rows`` lie in the picture, (rows, 2)."""
    return np.asarray(axes.transData.transform([(getattr(row, field), row.accuracy) for row in rows]))


def error_bars(axes: Axes, rows: Sequence[RowRecord], field: str) -> np.ndarray:
    """Points every few pixels along the error bars and their caps."""
    pieces = []
    for row in rows:
        ends = [(getattr(row, field), value) for value in (row.accuracy_low, row.accuracy_high)]
        low, high = np.asarray(axes.transData.transform(ends))
        pieces.append(low + np.linspace(0, 1, max(2, int((high[1] - low[1]) / 3.0)))[:, None] * (high - low))
        pieces += [end + np.array([[-4.0, 0.0], [4.0, 0.0]]) for end in (low, high)]
    return np.concatenate(pieces)


def line_and_markers(points: np.ndarray) -> np.ndarray:
    """Points every few pixels along a line, and a ring around each of its markers."""
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    rings = [point + 7.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1) for point in points]
    pieces = [*rings, points]
    for a, b in itertools.pairwise(points):
        steps = max(2, int(np.hypot(*(b - a)) / 4.0))
        pieces.append(a + np.linspace(0, 1, steps)[:, None] * (b - a))
    return np.concatenate(pieces)


def candidates(point: np.ndarray, width: float, height: float, scale: float) -> list[tuple[float, Box]]:
    """Boxes of a label around a point, nearest first, each with its distance; ``scale`` is pixels a point of type."""
    boxes = []
    for distance in (9.0, 13.0, 18.0, 24.0):
        for angle in np.deg2rad([90, 270, 135, 315, 45, 225, 0, 180, 112, 292, 67, 247]):
            reach = distance * scale
            x = point[0] + np.cos(angle) * (reach + width / 2 - height / 2)
            y = point[1] + np.sin(angle) * reach
            boxes.append((distance, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)))
    return boxes


def cost(
    box: Box,
    obstacles: np.ndarray,
    taken: Sequence[Box],
    frame: Any,
) -> float:
    """What a label in ``box`` would cover; 0 where it is free."""
    left, bottom, right, top = box
    inside = (obstacles[:, 0] > left - 1) & (obstacles[:, 0] < right + 1)
    inside &= (obstacles[:, 1] > bottom - 1) & (obstacles[:, 1] < top + 1)
    clash = sum(left < b[2] + 2 and b[0] - 2 < right and bottom < b[3] + 2 and b[1] - 2 < top for b in taken)
    outside = left < frame.x0 or right > frame.x1 or bottom < frame.y0 or top > frame.y1
    return float(inside.sum()) + 30.0 * clash + 100.0 * outside
