"""The plots of the page: Figures 2, 3 and 6 of the paper, on the tiny world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from liteframe.atomic import atomic_open
from liteframe.paper.cells import BUDGETS, FRAMES, LONGEST, RATIOS, frames_at
from liteframe.paper.evidence import Evidence
from liteframe.paper.names import CTD, LMA, REDUCTIONS, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Style:
    color: str
    marker: str
    line: str = "-"
    width: float = 2.0


# Okabe and Ito's palette for what the claims are about; the others are told apart by marker and dashes as well.
_STYLES = {
    "teacher": _Style("#000000", "o"),
    LMA: _Style("#D55E00", "*"),
    CTD: _Style("#0072B2", "P"),
    "teacher+wap": _Style("#E69F00", "s"),
    "teacher+wap-8x": _Style("#0072B2", "D"),
    "teacher+wap-4x": _Style("#009E73", "^"),
    "teacher+tome": _Style("#009E73", "v", "--", 1.4),
    "teacher+prumerge": _Style("#CC79A7", "<", "--", 1.4),
    "teacher+fastvid": _Style("#56B4E9", ">", "--", 1.4),
    "teacher+average": _Style("#8C8C8C", "D", ":", 1.2),
    "teacher+max": _Style("#5A5A5A", "^", ":", 1.2),
    "teacher+subsample": _Style("#B8B8B8", "h", ":", 1.2),
    "teacher+prumerge+": _Style("#A0527D", "X", "-.", 1.2),
    "teacher+visionzip": _Style("#882255", "d", "-.", 1.2),
    "teacher+dycoke": _Style("#999933", "p", "-.", 1.2),
    "teacher+prunevid": _Style("#44AA99", "8", "-.", 1.2),
    "teacher+holitom": _Style("#332288", "H", "-.", 1.2),
    "tome-teacher+wap": _Style("#117733", "<", "-.", 1.2),
    "tome4-teacher+wap": _Style("#117733", ">", "-.", 1.2),
    "teacher+fastv": _Style("#AA4499", "1", ":", 1.4),
    "teacher+pyramiddrop": _Style("#661100", "2", ":", 1.4),
}
_UNNAMED = _Style("#777777", "x", ":", 1.2)
"""Of an arm without a style of its own."""
_BESIDE = {1: (0, -16), 4: (13, -13), 8: (-13, -13), 16: (0, 8)}
"""Where the frame counts of each ratio stand, in points, so that they do not lie on each other."""
_BY_TIME = "milliseconds a video: encode + project + prefill, batch 1"


def write_plots(evidence: Evidence, folder: Path) -> list[Path]:
    """Draws ``fig2.png``, ``fig3.png`` and ``fig6.png``; what has no record or no latency is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _save(
            _frontier(evidence, ["teacher", *REDUCTIONS, CTD, LMA], "Accuracy against model time"), folder / "fig2.png"
        ),
        _save(_frames_and_ratios(evidence), folder / "fig3.png"),
        _save(
            _frontier(
                evidence, [*REDUCTIONS, CTD], "The LLM frozen: the student after CTD against post-hoc reductions"
            ),
            folder / "fig6.png",
        ),
    ]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120)


def _save(figure: Figure, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with atomic_open(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def _frontier(evidence: Evidence, arms: Sequence[str], title: str) -> Figure:
    """Accuracy and model time, a line an arm, its points the frame counts."""
    figure = _figure(11.0, 6.2)
    axes: Axes = figure.subplots()
    labelled = {"teacher", LMA, CTD, "teacher+wap"}
    for arm in arms:
        points = []
        for count in evidence.frames_of(arm):
            times, found = evidence.milliseconds(arm, count), evidence.accuracy(arm, count)
            if times and found is not None and count in (*FRAMES, LONGEST):
                points.append((count, fmean(times.values()), found))
        if points:
            _line(axes, arm, [x for _, x, _ in points], [found for _, _, found in points])
            if arm in labelled:
                _say_frames(axes, arm, points)
    axes.set_xscale("log")
    _plain_ticks(axes, (5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200))
    axes.set_xlabel(_BY_TIME)
    axes.set_ylabel("accuracy on held-out videos")
    axes.set_title(f"{title} (95 % intervals; beside points: frames)", fontsize=11)
    _legend(figure, axes)
    return figure


def _style(arm: str) -> _Style:
    return _STYLES.get(arm, _UNNAMED)


def _line(axes: Axes, arm: str, x: Sequence[float], found: Sequence[Any], label: str | None = None) -> None:
    style = _style(arm)
    means = [point.mean for point in found]
    errors = [
        [max(0.0, point.mean - point.low) for point in found],
        [max(0.0, point.high - point.mean) for point in found],
    ]
    axes.errorbar(
        x,
        means,
        yerr=errors,
        color=style.color,
        marker=style.marker,
        linestyle=style.line,
        linewidth=style.width,
        markersize=11 if style.marker == "*" else 6,
        elinewidth=0.9,
        capsize=2,
        label=label or name_of(arm),
        zorder=20 if style.width == 2.0 else 10,
    )


def _say_frames(axes: Axes, arm: str, points: Sequence[tuple[int, float, Any]]) -> None:
    """Left above the points, away from the line that rises; the teacher's right below, away from the students'."""
    from matplotlib.patheffects import withStroke

    below = arm == "teacher"
    for count, x, found in points:
        axes.annotate(
            str(count),
            (x, found.mean),
            textcoords="offset points",
            xytext=(6, -9) if below else (-6, 3),
            ha="left" if below else "right",
            fontsize=8,
            color=_style(arm).color,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
            zorder=30,
        )


def _frames_and_ratios(evidence: Evidence) -> Figure:
    """Left: accuracy by frames; right: by visual tokens, a line a ratio."""
    figure = _figure(12.0, 5.6)
    left, right = figure.subplots(1, 2, sharey=True)
    counts = (*FRAMES, LONGEST)
    for arm in ("teacher", "teacher+wap", CTD, LMA):
        known = [(count, found) for count in counts if (found := evidence.accuracy(arm, count)) is not None]
        if known:
            _line(left, arm, [count for count, _ in known], [found for _, found in known])
    left.set_xscale("log", base=2)
    _plain_ticks(left, counts)
    left.set_xlabel("frames of a video")
    left.set_ylabel("accuracy on held-out videos")
    left.set_title("by frames", fontsize=11)
    for arm, ratio in RATIOS.items():
        filled = [(budget, frames) for budget in BUDGETS if (frames := frames_at(budget, ratio))]
        points = [(budget, frames, found) for budget, frames in filled if (found := evidence.accuracy(arm, frames))]
        if points:
            text = "no compression" if ratio == 1 else f"WAP, {ratio}x"
            _line(right, arm, [budget for budget, _, _ in points], [found for *_, found in points], text)
            for budget, frames, found in points:
                right.annotate(
                    str(frames),
                    (budget, found.mean),
                    textcoords="offset points",
                    xytext=_BESIDE[ratio],
                    ha="center",
                    fontsize=8,
                    color=_style(arm).color,
                )
    right.set_xscale("log", base=2)
    _plain_ticks(right, BUDGETS)
    right.set_xlabel("visual tokens of a video (beside points: frames)")
    right.set_title("by ratio at equal tokens", fontsize=11)
    for axes in (left, right):
        axes.grid(True, color="#DDDDDD", linewidth=0.7)
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.subplots_adjust(left=0.065, right=0.985, top=0.92, bottom=0.11, wspace=0.06)
    return figure


def _plain_ticks(axes: Axes, places: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, axes: Axes) -> None:
    axes.grid(True, color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    figure.subplots_adjust(left=0.075, right=0.735, top=0.93, bottom=0.1)
