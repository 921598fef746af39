"""The picture of the rivals: a small panel each, its line in colour over the teacher, teacher + WAP and the student."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from liteframe.bench.arm_names import STRONG, in_order, method_name
from liteframe.bench.figures import bare, new_figure, plain_log, save
from liteframe.bench.frontier import rows_of_arm
from liteframe.bench.records import RowRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5
_BACKGROUND = {
    "teacher": ("#000000", "o"),
    "teacher+wap": ("#E69F00", "s"),
    "liteframe-ctd": ("#0072B2", "P"),
    "liteframe-lma": ("#D55E00", "*"),
}
_RIVAL = ("#009E73", "^")


def plot_rivals(rows: Sequence[RowRecord], path: str | os.PathLike[str], title: str) -> Path | None:
    """Draw accuracy against model time, a panel for every arm that is not of the story.

    Returns:
        the path of the PNG, or None where there is no such arm.
    """
    rivals = [arm for arm in in_order([row.arm for row in rows]) if arm not in STRONG]
    if not rivals:
        return None
    columns = min(_COLUMNS, len(rivals))
    lines = -(-len(rivals) // columns)
    figure = new_figure(max(8.5, 2.6 * columns), 1.15 + 2.1 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(panels.flat):
        if place >= len(rivals):
            axes.set_visible(False)
            continue
        for arm in STRONG:
            if any(row.arm == arm for row in rows):
                _draw(axes, rows_of_arm(rows, arm), *_BACKGROUND[arm], rival=False)
        _draw(axes, rows_of_arm(rows, rivals[place]), *_RIVAL, rival=True)
        axes.set_title(method_name(rivals[place]), fontsize=10, color=_RIVAL[0], weight="bold", pad=3)
        axes.set_xscale("log")
        axes.set_xticks(_ticks([row.model_ms for row in rows]))
        plain_log(axes, "x")
        bare(axes)
        if place + columns >= len(rivals):
            axes.tick_params(labelbottom=True)
    _legend(figure, rows)
    inches = figure.get_figheight()
    figure.suptitle(title, y=1.0 - 0.08 / inches, va="top", fontsize=11.5)
    figure.supxlabel("model time of a video, ms", y=0.06 / inches, va="bottom", fontsize=10)
    figure.supylabel("accuracy", x=0.08 / figure.get_figwidth(), fontsize=10)
    figure.subplots_adjust(
        left=0.7 / figure.get_figwidth(), right=0.98, top=1.0 - 0.85 / inches, bottom=0.55 / inches,
        wspace=0.08, hspace=0.32,
    )  # fmt: skip
    return save(figure, path)


def _ticks(times: Sequence[float]) -> list[float]:
    """Round milliseconds inside the picture, few enough for a small panel."""
    low, high = min(times), max(times)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) <= 4:
            break
    return ticks


def _draw(axes: Axes, rows: Sequence[RowRecord], color: str, marker: str, rival: bool) -> None:
    bars = [
        [max(0.0, row.accuracy - row.accuracy_low) for row in rows],
        [max(0.0, row.accuracy_high - row.accuracy) for row in rows],
    ]
    axes.errorbar(
        [row.model_ms for row in rows],
        [row.accuracy for row in rows],
        yerr=bars if rival else None,
        color=color,
        marker=marker,
        markersize=5 if rival else (6 if marker == "*" else 3.5),
        linewidth=2.0 if rival else 1.0,
        alpha=1.0 if rival else 0.55,
        elinewidth=1.0,
        capsize=1.5,
        zorder=20 if rival else 10,
    )


def _legend(figure: object, rows: Sequence[RowRecord]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from liteframe.bench.arm_names import arm_name

    assert isinstance(figure, Figure)
    present = {row.arm for row in rows}
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=6, alpha=0.7, label=arm_name(arm))
        for arm, (color, marker) in _BACKGROUND.items()
        if arm in present
    ]
    handles.append(Line2D([], [], color=_RIVAL[0], marker=_RIVAL[1], linewidth=2.0, label="the panel's arm"))
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1.0 - 0.3 / figure.get_figheight()),
        ncols=5, frameon=False, fontsize=8 if figure.get_figwidth() < 9 else 9,
    )  # fmt: skip
