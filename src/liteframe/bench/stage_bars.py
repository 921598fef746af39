"""The picture of where the time goes: a bar an arm and frame count, cut into stages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from liteframe.bench.figures import STAGE_COLORS, STAGE_HATCHES, bare, new_figure, save
from liteframe.bench.tables import milliseconds

_LEAST_SHOWN = 0.06
LONGEST_IN_MS = 10_000.0
"""A picture with a longer time is in seconds."""


@dataclass(frozen=True)
class StageBar:
    """A bar.

    Attributes:
        group: bars of one group stand together under its name.
        name: of the bar.
        stages_ms: stage -> milliseconds, in the order in which they happen.
        note: behind its time, in brackets; such as how it was found if not all of it was timed.
    """

    group: str
    name: str
    stages_ms: Mapping[str, float]
    note: str = ""


def plot_stage_bars(bars: Sequence[StageBar], path: str | os.PathLike[str], title: str) -> Path:
    """Draw each bar as shares of its own time, beside its time; groups one below the other.

    Returns:
        the path of the PNG.
    """
    if not bars:
        raise ValueError("a picture needs bars")
    figure = new_figure(10.0, 1.5 + 0.27 * len(bars) + 0.3 * len({bar.group for bar in bars}))
    axes = figure.subplots()
    places, height, group = [], 0.0, None
    for bar in bars:
        if bar.group != group:
            height += 1.0
            axes.text(0.0, height - 0.72, bar.group, fontsize=9.5, weight="bold", va="center")
            group, height = bar.group, height + 0.12
        places.append(height)
        height += 0.82
    in_seconds = max(sum(bar.stages_ms.values()) for bar in bars) > LONGEST_IN_MS
    for bar, place in zip(bars, places, strict=True):
        _draw(axes, bar, place, in_seconds)
    axes.set_yticks(places, [bar.name for bar in bars], fontsize=9)
    axes.set_ylim(height, 0.0)
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("share of the time of a video")
    bare(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    from matplotlib.patches import Patch

    names = [name for name in STAGE_COLORS if any(name in bar.stages_ms for bar in bars)]
    figure.legend(
        handles=[Patch(facecolor=STAGE_COLORS[n], hatch=STAGE_HATCHES[n], edgecolor="white", label=n) for n in names],
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.36 / figure.get_figheight()),
        ncols=len(names),
        frameon=False,
        fontsize=9.5,
    )
    figure.suptitle(title, y=1.0 - 0.1 / figure.get_figheight(), va="top", fontsize=11.5)
    figure.subplots_adjust(
        left=0.14,
        right=0.78 if any(bar.note for bar in bars) else 0.88,
        top=1.0 - 0.7 / figure.get_figheight(),
        bottom=0.5 / figure.get_figheight(),
    )
    return save(figure, path)


def _draw(axes: object, bar: StageBar, place: float, in_seconds: bool) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    total, left = sum(bar.stages_ms.values()), 0.0
    for name, ms in bar.stages_ms.items():
        share = ms / total if total else 0.0
        axes.barh(
            place, share, left=left, height=0.7, color=STAGE_COLORS.get(name, "#BBBBBB"),
            hatch=STAGE_HATCHES.get(name, ""), edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        if share >= _LEAST_SHOWN:
            dark = name in ("encode", "decode", "prefill")
            axes.text(
                left + share / 2, place, f"{share:.0%}", ha="center", va="center_baseline", fontsize=8,
                color="white" if dark else "black",
                bbox={"facecolor": STAGE_COLORS.get(name, "#BBBBBB"), "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
        left += share
    time = f"{_figures(total / 1e3)} s" if in_seconds else f"{_figures(total)} ms"
    axes.text(1.01, place, f"{time} ({bar.note})" if bar.note else time, va="center_baseline", fontsize=8.5)


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else milliseconds(value)
