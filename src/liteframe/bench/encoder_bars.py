"""The picture of encoders: milliseconds a frame as bars, with the least that the machine would allow marked."""

from __future__ import annotations

import os
from pathlib import Path

from liteframe.bench.arm_names import real_arm_name
from liteframe.bench.figures import bare, new_figure, save
from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.tables import milliseconds

_COLORS = {"main": "#D55E00", "encoder": "#0072B2", "post-hoc": "#E69F00", "mixer": "#009E73"}
_NAMES = {"main": "teacher and student", "encoder": "other encoders", "post-hoc": "post-hoc", "mixer": "other mixers"}


def plot_encoders(record: LatencyRecord, path: str | os.PathLike[str], title: str) -> Path | None:
    """Draw encode + project a frame of every encoder, at the most frames that all of them were run at.

    Returns:
        the path of the PNG, or None where the record has no encoders.
    """
    found = [row for row in record.suite("encoder", batch=1) if row.encoder_ms and row.frames]
    if not found:
        return None
    counts = [{row.frames for row in found if row.arm == arm} for arm in dict.fromkeys(row.arm for row in found)]
    common = set.intersection(*counts)
    rows = [
        max(of, key=lambda row: row.frames or 0) for of in _by_arm(found, max((c for c in common if c), default=None))
    ]
    rows.sort(key=_per_frame)
    figure = new_figure(10.0, 1.7 + 0.36 * len(rows))
    axes = figure.subplots()
    groups = [record.arms[row.arm].group if row.arm in record.arms else "encoder" for row in rows]
    for place, (row, group) in enumerate(zip(rows, groups, strict=True)):
        _draw(axes, row, group, place)
    one = len({row.frames for row in rows}) == 1
    names = [real_arm_name(row.arm) + ("" if one else f", {row.frames} frames") for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * max(_per_frame(row) for row in rows))
    axes.set_xlabel("milliseconds a frame, encode + project" + (f", of {rows[0].frames} frames" if one else ""))
    bare(axes, "x")
    axes.tick_params(axis="y", length=0)
    _legend(figure, dict.fromkeys(groups))
    inches = figure.get_figheight()
    figure.suptitle(title, y=1.0 - 0.1 / inches, va="top", fontsize=11.5)
    margin = min(0.5, (0.3 + 0.072 * max(len(name) for name in names)) / figure.get_figwidth())
    figure.subplots_adjust(left=margin, right=0.97, top=1.0 - 0.75 / inches, bottom=0.55 / inches)
    return save(figure, path)


def _by_arm(rows: list[LatencyRow], frames: int | None) -> list[list[LatencyRow]]:
    arms = dict.fromkeys(row.arm for row in rows)
    return [[row for row in rows if row.arm == arm and frames in (None, row.frames)] for arm in arms]


def _per_frame(row: LatencyRow) -> float:
    assert row.encoder_ms is not None and row.frames
    return row.encoder_ms / row.frames


def _floor(row: LatencyRow) -> float | None:
    """Milliseconds a frame that the machine's limits ask for, of the stages that have a floor; None without encode."""
    floors = {name: stage.floor for name, stage in row.stages.items() if name in ("encode", "project") and stage.floor}
    if "encode" not in floors or not row.frames:
        return None
    return sum(floor["floor_ms"] for floor in floors.values() if floor) / row.frames


def _draw(axes: object, row: LatencyRow, group: str, place: int) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    value, floor, color = _per_frame(row), _floor(row), _COLORS.get(group, "#8C8C8C")
    computed = row.any_computed
    axes.barh(place, value, height=0.66, color="white" if computed else color, edgecolor=color, linewidth=1.2, zorder=5)
    if floor is not None:
        axes.plot([floor, floor], [place - 0.4, place + 0.4], color="white", linewidth=4.0, zorder=8)
        axes.plot([floor, floor], [place - 0.4, place + 0.4], color="black", linewidth=1.8, zorder=9)
    text = f" {milliseconds(value)}" + (" (computed)" if computed else "")
    text += f", {value / floor:.1f}x the floor" if floor and not computed else ""
    axes.text(value, place, text, va="center_baseline", fontsize=8.5, zorder=10)


def _legend(figure: object, groups: dict[str, None]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    assert isinstance(figure, Figure)
    patches = [Patch(facecolor=_COLORS.get(g, "#8C8C8C"), label=_NAMES.get(g, g)) for g in groups]
    floor = Line2D([], [], color="black", linewidth=1.8, label="floor: FLOPs over the measured rate")
    figure.legend(
        handles=[*patches, floor], loc="upper center", bbox_to_anchor=(0.5, 1.0 - 0.36 / figure.get_figheight()),
        ncols=len(patches) + 1, frameon=False, fontsize=9.5,
    )  # fmt: skip
