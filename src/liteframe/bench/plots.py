"""The picture of the frontier: accuracy against milliseconds a video, by model time and end to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liteframe.atomic import atomic_open
from liteframe.bench.arm_names import STRONG, method_name
from liteframe.bench.frontier import rows_of_arm
from liteframe.bench.gain_marks import halo, mark_gains
from liteframe.bench.label_column import label_column
from liteframe.bench.label_places import candidates, cost, error_bars, line_and_markers, pixels
from liteframe.bench.records import RowRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Style:
    color: str
    marker: str
    label: str
    strong: bool = True


# Okabe and Ito's palette, told apart by most colour-blind readers; the marker tells them apart once more.
_STYLES = {
    "teacher": _Style("#000000", "o", "teacher, all tokens"),
    "liteframe-lma": _Style("#D55E00", "*", "student after LMA"),
    "liteframe-ctd": _Style("#0072B2", "P", "student after CTD"),
    "teacher+wap": _Style("#E69F00", "s", "teacher + WAP"),
    "teacher+max": _Style("#56B4E9", "^", "teacher + max pooling", strong=False),
    "teacher+average": _Style("#CC79A7", "v", "teacher + average pooling", strong=False),
    "teacher+subsample": _Style("#8C8C8C", "D", "teacher + subsampling", strong=False),
}
_SPARE = ("#009E73", "#F0E442", "#999933", "#882255")
_MANY = 8
"""With more arms than that, only the story's are coloured; the others are grey and named beside their lines."""
_GREY_MARKERS = "^vDsPXh<>pdo"
_PANELS = (("model_ms", "model: encode + project + prefill"), ("total_ms", "end to end: decoding included"))


def plot_frontier(rows: Sequence[RowRecord], path: str | os.PathLike[str], title: str | None = None) -> Path:
    """Draw one line an arm, its points labelled by frames, with 95 % intervals; log milliseconds; two panels.

    Of many arms those beside the story's are grey, with their names in a column at the right of a panel.

    Returns:
        the path of the PNG, which is written whole or not at all.
    """
    if not rows:
        raise ValueError("a picture needs rows")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 6.4), dpi=130)
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    styles = _styles_of(rows)
    for axes, (field, name) in zip(panels, _PANELS, strict=True):
        _draw(axes, rows, field, styles)
        axes.set_xlabel(f"milliseconds a video ({name})")
    panels[0].set_ylabel("accuracy on held-out videos")
    questions = min(row.questions for row in rows)
    figure.suptitle(title or f"Accuracy against latency ({questions:,} questions a point, 95 % intervals)", y=0.985)
    handles, labels = panels[0].get_legend_handles_labels()
    columns = min(4, len(labels))
    order = [i for column in range(columns) for i in range(column, len(labels), columns)]  # legends fill by columns
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=10,
        markerscale=0.9,
    )
    figure.subplots_adjust(left=0.06, right=0.985, top=0.905, bottom=0.2, wspace=0.05)
    figure.text(
        0.5, 0.93, "beside points: frames;  dotted: gain at equal latency", ha="center", fontsize=9, color="#555555"
    )
    canvas.draw()
    for axes, (field, _) in zip(panels, _PANELS, strict=True):
        _label_points(
            axes, rows, field, {arm: style for arm, style in styles.items() if style.label}, canvas.get_renderer()
        )
        _name_grey_lines(axes, rows, field, [arm for arm, style in styles.items() if not style.label])
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(target) as file:
        figure.savefig(file, format="png")
    return target


def _styles_of(rows: Sequence[RowRecord]) -> dict[str, _Style]:
    arms = list(dict.fromkeys(row.arm for row in rows))
    known = [arm for arm in _STYLES if arm in arms]
    others = [arm for arm in arms if arm not in _STYLES]
    if len(arms) > _MANY:
        grey = [arm for arm in arms if arm not in STRONG]
        rivals = {
            arm: _Style("#A6A6A6", _GREY_MARKERS[i % len(_GREY_MARKERS)], "", strong=False)
            for i, arm in enumerate(grey)
        }
        return {arm: _STYLES[arm] for arm in known if arm in STRONG} | rivals
    spare = {arm: _Style(_SPARE[i % len(_SPARE)], "X", arm) for i, arm in enumerate(others)}
    return {arm: _STYLES[arm] for arm in known} | spare


def _draw(axes: Axes, rows: Sequence[RowRecord], field: str, styles: dict[str, _Style]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for order, (arm, style) in enumerate(styles.items()):
        found = rows_of_arm(rows, arm)
        x = [getattr(row, field) for row in found]
        y = np.array([row.accuracy for row in found])
        low = np.maximum(0.0, y - [row.accuracy_low for row in found])
        high = np.maximum(0.0, np.array([row.accuracy_high for row in found]) - y)
        axes.errorbar(
            x,
            y,
            yerr=[low, high],
            color=style.color,
            marker=style.marker,
            markersize=(12 if style.marker == "*" else 7) if style.strong else 4.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linewidth=2.0 if style.strong else 1.0,
            linestyle="-" if style.strong else "--",
            elinewidth=1.0 if style.label else 0.6,
            capsize=2.0,
            alpha=1.0 if style.strong else 0.85,
            zorder=(20 if style.strong else 10) + order,
            label=style.label or "_hidden",
        )
    axes.set_xscale("log")
    times = [getattr(row, field) for row in rows]
    if not all(style.label for style in styles.values()):
        axes.set_xlim(0.92 * min(times), _column_start(times) * (max(times) / min(times)) ** 0.3)
    reach = max(times) / min(times)
    subs = (
        (1.0, 2.0, 5.0)
        if reach > 30
        else (1.0, 2.0, 3.0, 5.0, 7.0)
        if reach > 6
        else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    )
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _label_points(axes: Axes, rows: Sequence[RowRecord], field: str, styles: dict[str, _Style], renderer: Any) -> None:
    """Put the frame count beside each point, where it covers no line, point or other label; strong arms first."""
    paths = {arm: pixels(axes, rows_of_arm(rows, arm), field) for arm in styles}
    bars = [error_bars(axes, rows_of_arm(rows, arm), field) for arm in styles]
    obstacles = np.concatenate([*(line_and_markers(points) for points in paths.values()), *bars])
    taken = mark_gains(axes, rows, field, renderer, obstacles)
    frame = axes.get_window_extent(renderer)
    scale = axes.figure.dpi / 72.0
    for arm in sorted(styles, key=lambda name: not styles[name].strong):
        style = styles[arm]
        size = 9.0 if style.strong else 7.0
        for row, point in zip(rows_of_arm(rows, arm), paths[arm], strict=True):
            text = str(row.frames)
            width, height = 0.62 * size * len(text) * scale, 0.8 * size * scale
            best = min(
                (
                    (cost(box, obstacles, taken, frame), distance, box)
                    for distance, box in candidates(point, width, height, scale)
                ),
                key=lambda item: item[0] + 0.04 * item[1],
            )
            if best[0] > 0 and not style.strong:
                continue
            box = best[2]
            taken.append(box)
            centre = axes.transData.inverted().transform(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
            weight = "bold" if style.strong else "normal"
            axes.text(
                float(centre[0]),
                float(centre[1]),
                text,
                ha="center",
                va="center_baseline",
                fontsize=size,
                color=style.color,
                weight=weight,
                zorder=60,
                path_effects=halo(),
            )


def _column_start(times: Sequence[float]) -> float:
    return max(times) * (max(times) / min(times)) ** 0.04


def _name_grey_lines(axes: Axes, rows: Sequence[RowRecord], field: str, arms: Sequence[str]) -> None:
    last = [(arm, rows_of_arm(rows, arm)[-1]) for arm in arms]
    ends = [(getattr(row, field), row.accuracy, method_name(arm)) for arm, row in last]
    label_column(axes, ends, _column_start([getattr(row, field) for row in rows]))
