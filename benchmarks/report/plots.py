"""Every picture of the pages; a method has the colour and marker of the registry in all of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from liteframe.bench.frontier import weights_at
from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.methods import STORY, label, method
from liteframe.bench.paper.cells import BUDGETS, FRAMES, LONGEST, RATIOS, frames_at
from liteframe.bench.records import MODEL_STAGES, STAGES
from liteframe.system.atomic import atomic_open

from .evidence import Evidence
from .wording import milliseconds

STAGE_COLOURS = dict(zip(STAGES, ("#999999", "#D9D9D9", "#0072B2", "#F0E442", "#D55E00"), strict=True))
REAL_STORY = ("teacher", "teacher+wap", "student")
_WIDTHS = {"teacher": 4.2, "teacher+wap": 2.8, "student": 1.6}
"""Wider where a line that lies on it has to leave a rim; all others are dashed, and on top."""
SMALLEST_GAIN = 0.03
"""Gains that are not larger are not drawn."""
SECONDS_FROM = 10_000.0
"""Milliseconds from which on a picture is in seconds."""
HALO = [withStroke(linewidth=2.0, foreground="white")]


def new_figure(width: float, height: float, title: str, **panels: Any) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches that needs no display, and its panels."""
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11.5)
    axes = figure.subplots(**{"squeeze": False, **panels})
    for each in axes.flat:
        each.grid(True, color="#DDDDDD", linewidth=0.7)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Writes the PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def ticks(axes: Axes, places: Sequence[float], axis: str = "x") -> None:
    """These numbers, in full, on an axis."""
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(FixedLocator(list(places)))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    chosen.set_minor_locator(NullLocator())


def round_numbers(values: Sequence[float], most: int) -> list[float]:
    """Round numbers between the lowest and the highest value, at most so many."""
    low, high = min(values), max(values)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) <= most:
            break
    return found


def curve(axes: Axes, name: str, x: Sequence[float] | pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    """A line of accuracies with their intervals, in the method's colour; `rows` has accuracy, low and high."""
    about, strong = method(name), name in STORY
    errors = [(rows.accuracy - rows.low).clip(lower=0), (rows.high - rows.accuracy).clip(lower=0)]
    usual: dict[str, Any] = {
        "color": about.colour, "marker": about.marker, "linewidth": 2.0 if strong else 1.1, "capsize": 2,
        "linestyle": "-" if strong else "--", "elinewidth": 0.9, "zorder": 20 if strong else 10,
        "markersize": (11 if about.marker == "*" else 6) if strong else 5, "label": label(name),
    }  # fmt: skip
    axes.errorbar(x, rows.accuracy, yerr=errors, **(usual | look))


def frontier(means: pd.DataFrame, path: Path, title: str) -> None:
    """Accuracy against the model time and the time end to end, a line a method; frames beside the story's points."""
    figure, panels = new_figure(14.0, 6.4, title, nrows=1, ncols=2, sharey=True)
    names = list(dict.fromkeys(means.index.get_level_values("method")))
    for axes, (field, words) in zip(
        panels.flat, {"model_ms": "encode + project + prefill", "total_ms": "with decoding"}.items(), strict=True
    ):
        for name in names:
            rows = means.loc[name]
            curve(axes, name, rows[field], rows)
            if name in STORY:
                _say_frames(axes, name, rows[field], rows.accuracy)
        _gains(axes, means, field)
        axes.set_xscale("log")
        ticks(axes, round_numbers(means[field], 9))
        axes.set_xlabel(f"milliseconds a video: {words}")
    panels[0, 0].set_ylabel("accuracy on held-out videos")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    save(figure, path)


def _say_frames(axes: Axes, name: str, x: pd.Series, y: pd.Series) -> None:
    """Left above the points, away from the line that rises; the teacher's right below, away from the students'."""
    for count in x.index:
        place, side = ((6, -9), "left") if name == "teacher" else ((-6, 4), "right")
        axes.annotate(
            str(count), (x[count], y[count]), xytext=place, textcoords="offset points", ha=side, fontsize=8,
            color=method(name).colour, path_effects=HALO, zorder=30,
        )  # fmt: skip


def _gains(axes: Axes, means: pd.DataFrame, field: str) -> None:
    """Dotted: what the student gains over the teacher at the time of the teacher's two fastest rows."""
    if not {"teacher", "liteframe-lma"} <= set(means.index.get_level_values("method")):
        return
    teacher, student = means.loc["teacher"], means.loc["liteframe-lma"]
    for _, row in teacher.iloc[:2].iterrows():
        weights, _ = weights_at(student[field].to_dict(), row[field])
        reached = sum(weight * student.accuracy[count] for count, weight in weights.items())
        if not weights or reached - row.accuracy < SMALLEST_GAIN:
            continue
        axes.plot([row[field]] * 2, [row.accuracy, reached], color="#555555", linestyle=":", linewidth=1.3, zorder=9)
        axes.annotate(
            f"{reached - row.accuracy:+.2f}", (row[field], row.accuracy + 0.62 * (reached - row.accuracy)),
            xytext=(-3, 0), textcoords="offset points", ha="right", fontsize=9, color="#555555",
            path_effects=HALO, zorder=40,
        )  # fmt: skip


def rivals(means: pd.DataFrame, path: Path, title: str, columns: int = 5) -> None:
    """Accuracy against model time, a panel for every method beside the story, whose lines stand behind it."""
    others = [name for name in dict.fromkeys(means.index.get_level_values("method")) if name not in STORY]
    lines = -(-len(others) // columns)
    figure, panels = new_figure(13.0, 1.2 + 2.2 * lines, title, nrows=lines, ncols=columns, sharex=True, sharey=True)
    for axes, name in itertools.zip_longest(panels.flat, others):
        if name is None:
            axes.set_visible(False)
            continue
        for story in STORY:
            if story in means.index:
                look: dict[str, Any] = {"linewidth": 1.0, "alpha": 0.5, "markersize": 4, "elinewidth": 0, "capsize": 0}
                curve(axes, story, means.loc[story].model_ms, means.loc[story], **look)
        look = {"linewidth": 2.0, "linestyle": "-", "zorder": 30, "label": "_"}
        curve(axes, name, means.loc[name].model_ms, means.loc[name], **look)
        axes.set_title(fill(label(name), 28), fontsize=8.5, color=method(name).colour, weight="bold")
        axes.set_xscale("log")
        ticks(axes, round_numbers(means.model_ms, 4))
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("model time of a video, ms", fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy", fontsize=8)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    save(figure, path)


def ratios(evidence: Evidence, path: Path) -> None:
    """Left: accuracy by frames; right: by visual tokens, a line a ratio, frames beside its points."""
    figure, panels = new_figure(12.0, 5.4, "Accuracy on held-out videos", nrows=1, ncols=2, sharey=True)
    left, right = panels.flat
    for name in STORY:
        rows = _estimates(evidence, name, (*FRAMES, LONGEST))
        if len(rows):
            curve(left, name, list(rows.index), rows)
    beside = {1: (0, -16), 4: (13, -13), 8: (-13, -13), 16: (0, 8)}
    for name, ratio in RATIOS.items():
        filled = {frames: budget for budget in BUDGETS if (frames := frames_at(budget, ratio))}
        rows = _estimates(evidence, name, list(filled))
        if not len(rows):
            continue
        text = "no compression" if ratio == 1 else f"WAP, {ratio}x"
        curve(right, name, [filled[frames] for frames in rows.index], rows, label=text, linestyle="-", linewidth=2.0)
        for frames, accuracy in rows.accuracy.items():
            right.annotate(
                str(frames), (filled[frames], accuracy), xytext=beside[ratio], textcoords="offset points", ha="center",
                fontsize=8, color=method(name).colour, path_effects=HALO, zorder=30,
            )  # fmt: skip
    for axes, places, words in ((left, (*FRAMES, LONGEST), "frames of a video"), (right, BUDGETS, "visual tokens")):
        axes.set_xscale("log", base=2)
        ticks(axes, places)
        axes.set_xlabel(words)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9, loc="lower right")
    save(figure, path)


def _estimates(evidence: Evidence, name: str, counts: Sequence[int]) -> pd.DataFrame:
    found = {count: known for count in counts if (known := evidence.accuracy(name, count)) is not None}
    rows = [{"accuracy": known.mean, "low": known.low, "high": known.high} for known in found.values()]
    return pd.DataFrame(rows, index=list(found), columns=["accuracy", "low", "high"])


@dataclass(frozen=True)
class Bar:
    """A bar of stages: bars of one group stand together under its name; a note says how its time was found."""

    group: str
    name: str
    stages_ms: Mapping[str, float]
    note: str = ""


def bars_of_means(means: pd.DataFrame, names: Sequence[str]) -> list[Bar]:
    """The tiny world's bars."""
    return [
        Bar(label(name), f"{count} frames", {stage: row[f"{stage}_ms"] for stage in STAGES})
        for name in names
        if name in means.index
        for count, row in means.loc[name].iterrows()
    ]


def bars_of_record(record: LatencyRecord) -> list[Bar]:
    """The bars of whole models at real shapes."""
    rows = [row for name in REAL_STORY for row in record.suite("pipeline", name, 1) if row.model_ms and row.frames]
    return [
        Bar(
            label(row.arm), f"{row.frames} frames", {name: row.stages[name].ms for name in MODEL_STAGES}, _computed(row)
        )
        for row in rows
    ]


def _computed(row: LatencyRow) -> str:
    stages = [row.stages[name].computed for name in MODEL_STAGES]
    return "computed" if all(stages) else "partly computed" if any(stages) else ""


def stage_bars(bars: Sequence[Bar], path: Path, title: str) -> None:
    """Each bar as shares of its own time, beside its time; groups one below the other."""
    groups = list(dict.fromkeys(bar.group for bar in bars))
    figure, panels = new_figure(10.0, 1.3 + 0.27 * len(bars) + 0.3 * len(groups), title)
    axes, heights = panels[0, 0], [place + 1.3 * groups.index(bar.group) for place, bar in enumerate(bars)]
    in_seconds = max(sum(bar.stages_ms.values()) for bar in bars) > SECONDS_FROM
    for group in groups:
        first = next(height for bar, height in zip(bars, heights, strict=True) if bar.group == group)
        axes.text(0.0, first - 0.95, group, fontsize=9.5, weight="bold", va="center")
    for bar, height in zip(bars, heights, strict=True):
        total, left = sum(bar.stages_ms.values()), 0.0
        for name, ms in bar.stages_ms.items():
            axes.barh(height, ms / total, 0.8, left, color=STAGE_COLOURS[name], edgecolor="white", linewidth=0.4)
            if ms / total >= 0.06:
                ink = "white" if name in ("decode", "encode", "prefill") else "black"
                place = left + ms / total / 2
                axes.text(place, height, f"{ms / total:.0%}", ha="center", va="center", fontsize=8, color=ink)
            left += ms / total
        time = f"{milliseconds(total / 1e3)} s" if in_seconds else f"{milliseconds(total)} ms"
        axes.text(1.01, height, f"{time} ({bar.note})" if bar.note else time, va="center", fontsize=8.5)
    axes.set_yticks(heights, [bar.name for bar in bars], fontsize=9)
    axes.set(ylim=(max(heights) + 0.7, -1.6), xlim=(0.0, 1.0), xlabel="share of the time of a video")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    stages = [name for name in STAGES if any(name in bar.stages_ms for bar in bars)]
    handles = [Patch(facecolor=STAGE_COLOURS[name], label=name) for name in stages]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(stages), frameon=False, fontsize=9)
    save(figure, path)


def latency_over_frames(record: LatencyRecord, path: Path, title: str) -> None:
    """Encode, prefill and model time against frames; what was timed is filled, what was computed is hollow."""
    rows = [row for row in record.suite("pipeline", batch=1) if row.frames and row.model_ms]
    figure, panels = new_figure(15.0, 5.6, title, nrows=1, ncols=3, sharey=True)
    for axes, name in zip(panels.flat, ("encode", "prefill", "model"), strict=True):
        for each in dict.fromkeys(row.arm for row in rows):
            points = [
                (row.frames, row.model_ms, row.any_computed)
                if name == "model"
                else (row.frames, row.stages[name].ms, row.stages[name].computed)
                for row in rows
                if row.arm == each
            ]
            about, width = method(each), _WIDTHS.get(each)
            x, y = [frames for frames, *_ in points], [(ms or 0.0) / 1e3 for _, ms, _ in points]
            order = 10 if width else 30
            style = "-" if width else (0, (3.0, 3.0))
            axes.plot(x, y, color=about.colour, linewidth=width or 1.1, linestyle=style, zorder=order)
            for frames, seconds, (*_, computed) in zip(x, y, points, strict=True):
                inside = "white" if computed else about.colour
                axes.plot(
                    frames, seconds, about.marker, color=about.colour, markerfacecolor=inside,
                    markersize=9 if about.marker == "*" else 5.5, zorder=order + 1,
                )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="frames", title=name)
        ticks(axes, sorted({row.frames for row in rows if row.frames}))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    panels[0, 0].set_ylabel("seconds a video")
    handles = [
        Line2D([], [], color=method(name).colour, marker=method(name).marker, label=label(name))
        for name in dict.fromkeys(row.arm for row in rows)
    ]
    kinds = {"timed": "#555555", "computed, all or part of it": "white"}
    handles += [
        Line2D([], [], color="#555555", marker="o", linestyle="", markerfacecolor=inside, label=text)
        for text, inside in kinds.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    save(figure, path)
