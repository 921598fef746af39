"""Figures without a display: one way to make them, to dress their axes and to write them whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from liteframe.atomic import atomic_open

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM_COLORS = {
    "teacher": "#000000",
    "teacher+wap": "#E69F00",
    "student": "#D55E00",
    "liteframe-ctd": "#0072B2",
    "liteframe-lma": "#D55E00",
}
"""Of Okabe and Ito's palette, told apart by most colour-blind readers; the same arm in every picture."""

STAGE_COLORS = {
    "decode": "#999999",
    "preprocess": "#D9D9D9",
    "encode": "#0072B2",
    "project": "#F0E442",
    "prefill": "#D55E00",
}
STAGE_HATCHES = {"decode": "", "preprocess": "..", "encode": "", "project": "", "prefill": "//"}


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    return figure


def bare(axes: Axes, grid: str = "both") -> None:
    """No frame at the top and the right, light grid lines behind everything."""
    axes.grid(True, axis=grid, which="major", color="#DDDDDD", linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def plain_log(axes: Axes, axis: str) -> None:
    """Numbers in full on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    chosen.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write the PNG whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(target) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return target
