"""Every picture of the pages; a method has the colour and marker of the registry in all of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from liteframe.bench.frontier import weights_at
from liteframe.bench.latency_record import LatencyRecord
from liteframe.bench.methods import STORY, label, method
from liteframe.bench.paper.cells import BUDGETS, FRAMES, LMA, LONGEST, RATIOS, frames_at
from liteframe.bench.records import MODEL_STAGES, STAGES
from liteframe.system.atomic import atomic_open

from . import students as of_shapes
from .evidence import Evidence
from .wording import milliseconds

STAGE_COLOURS = dict(zip(STAGES, ("#999999", "#D9D9D9", "#0072B2", "#F0E442", "#D55E00"), strict=True))
REAL_STORY = ("teacher", "teacher+wap", "student")
OTHERS = "the other methods (one by one in RESULTS.md)"
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


def log_ticks(axes: Axes, places: Sequence[float]) -> None:
    """A logarithmic axis with these numbers on it, in full."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def say(axes: Axes, text: object, x: float, y: float, offset: tuple[float, float], side: str, colour: str) -> None:
    """A small number beside a point, so many points of type away from it."""
    axes.annotate(
        str(text), (x, y), xytext=offset, textcoords="offset points", ha=side, fontsize=8, color=colour,
        path_effects=HALO, zorder=30,
    )  # fmt: skip


def curve(axes: Axes, name: str, x: Sequence[float] | pd.Series, rows: pd.DataFrame, **look: Any) -> None:
    """A line of accuracies with their intervals, in the method's colour; `rows` has accuracy, low and high."""
    about = method(name)
    errors = [(rows.accuracy - rows.low).clip(lower=0), (rows.high - rows.accuracy).clip(lower=0)]
    usual: dict[str, Any] = {
        "color": about.colour, "marker": about.marker, "linewidth": 2.0, "capsize": 2, "elinewidth": 0.9,
        "zorder": 20, "markersize": 11 if about.marker == "*" else 6, "label": label(name),
    }  # fmt: skip
    axes.errorbar(x, rows.accuracy, yerr=errors, **(usual | look))


def frontier(means: pd.DataFrame, path: Path, title: str) -> None:
    """Accuracy against the model time and the time end to end; frames beside the story's points, all others grey."""
    figure, panels = new_figure(13.0, 6.0, title, nrows=1, ncols=2, sharey=True)
    fields = {"model_ms": "encode + project + prefill", "total_ms": "with decoding"}
    names = list(dict.fromkeys(means.index.get_level_values("method")))
    for axes, (field, words) in zip(panels.flat, fields.items(), strict=True):
        others = [means.loc[name] for name in names if name not in STORY]
        for place, rows in enumerate(others):
            told = None if place else OTHERS
            axes.plot(rows[field], rows.accuracy, ".-", color="#BBBBBB", linewidth=0.9, zorder=5, label=told)
        for name in [name for name in names if name in STORY]:
            rows = means.loc[name]
            curve(axes, name, rows[field], rows)
            # left above the points, away from the line that rises; the teacher's right below, away from the students'
            offset, side = ((6, -9), "left") if name == "teacher" else ((-6, 4), "right")
            for count in rows.index:
                say(axes, count, rows[field][count], rows.accuracy[count], offset, side, method(name).colour)
        _gains(axes, means, field)
        log_ticks(axes, _within((5, 10, 15, 20, 25, 30, 40, 50, 70, 100, 150, 200), means[field]))
        axes.set_xlabel(f"milliseconds a video: {words}")
    panels[0, 0].set_ylabel("accuracy on held-out videos")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    save(figure, path)


def _within(places: Sequence[float], values: pd.Series) -> list[float]:
    return [place for place in places if values.min() <= place <= values.max()]


def _gains(axes: Axes, means: pd.DataFrame, field: str) -> None:
    """Dotted: what the student gains over the teacher at the time of the teacher's two fastest rows."""
    if not {"teacher", "liteframe-lma"} <= set(means.index.get_level_values("method")):
        return
    teacher, student = means.loc["teacher"], means.loc["liteframe-lma"]
    for _, row in teacher.iloc[:2].iterrows():
        weights, _ = weights_at(student[field].to_dict(), row[field])
        reached = sum(weight * student.accuracy[count] for count, weight in weights.items())
        gain = reached - row.accuracy
        if weights and gain >= SMALLEST_GAIN:
            axes.plot([row[field]] * 2, [row.accuracy, reached], ":", color="#555555", linewidth=1.3, zorder=9)
            say(axes, f"{gain:+.2f}", row[field], row.accuracy + 0.62 * gain, (-3, 0), "right", "#555555")


def rivals(means: pd.DataFrame, path: Path, title: str, columns: int = 5) -> None:
    """Accuracy against model time, a panel for every method beside the story, whose lines stand behind it."""
    others = [name for name in dict.fromkeys(means.index.get_level_values("method")) if name not in STORY]
    lines = -(-len(others) // columns)
    figure, panels = new_figure(13.0, 1.2 + 2.2 * lines, title, nrows=lines, ncols=columns, sharex=True, sharey=True)
    behind: dict[str, Any] = {"linewidth": 1.0, "alpha": 0.5, "markersize": 4, "elinewidth": 0, "capsize": 0}
    for axes, name in itertools.zip_longest(panels.flat, others):
        if name is None:
            axes.set_visible(False)
            continue
        for story in STORY:
            if story in means.index:
                curve(axes, story, means.loc[story].model_ms, means.loc[story], **behind)
        curve(axes, name, means.loc[name].model_ms, means.loc[name], zorder=30, markersize=5, label="_")
        axes.set_title(fill(label(name), 28), fontsize=8.5, color=method(name).colour, weight="bold")
        log_ticks(axes, _within((10, 20, 50, 100), means.model_ms))
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("model time of a video, ms", fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy", fontsize=8)
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    save(figure, path)


def ratios(evidence: Evidence, path: Path) -> None:
    """Left: accuracy by frames; right: by visual tokens, a line a ratio, frames beside its points."""
    figure, panels = new_figure(
        12.0, 5.4, "Accuracy on held-out videos (95 % intervals)", nrows=1, ncols=2, sharey=True
    )
    left, right = panels.flat
    for name in STORY:
        rows = _estimates(evidence, name, (*FRAMES, LONGEST))
        curve(left, name, list(rows.index), rows)
    beside = {1: (0, -16), 4: (13, -13), 8: (-13, -13), 16: (0, 8)}
    for name, ratio in RATIOS.items():
        filled = {frames: budget for budget in BUDGETS if (frames := frames_at(budget, ratio))}
        rows = _estimates(evidence, name, list(filled))
        text = "no compression" if ratio == 1 else f"WAP, {ratio}x"
        curve(right, name, [filled[frames] for frames in rows.index], rows, label=text)
        for frames, accuracy in rows.accuracy.items():
            say(right, frames, filled[frames], accuracy, beside[ratio], "center", method(name).colour)
    for axes, places, words in (
        (left, (*FRAMES, LONGEST), "frames of a video"),
        (right, BUDGETS, "visual tokens (beside points: frames)"),
    ):
        log_ticks(axes, places)
        axes.set(xlim=(min(places) / 1.25, max(places) * 1.25), xlabel=words)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    left.set_ylabel("accuracy")
    save(figure, path)


def students(evidence: Evidence, costs: pd.DataFrame, path: Path) -> None:
    """What students of other shapes lose to the paper's, against operations and time, after CTD and after LMA."""
    title = "Students of other shapes: accuracy less that of the paper's, mean of 8 to 64 frames (95 % intervals)"
    figure, panels = new_figure(13.0, 8.6, title, nrows=2, ncols=2, sharex="col", sharey="row")
    numbers = {shape: number for number, shape in enumerate(of_shapes.labels())}
    fields = {"mflops_per_frame": "MFLOP a frame", "ms": "milliseconds to encode 64 frames"}
    for line, (own, trained) in zip(panels, of_shapes.ADAPTED.items(), strict=True):
        rows = of_shapes.points(evidence, costs, own)
        errors = [rows.gain - rows.low, rows.high - rows.gain]
        for axes, (field, text) in zip(line, fields.items(), strict=True):
            axes.errorbar(rows[field], rows.gain, errors, fmt="o", color=method(own).colour, ecolor="#BBBBBB")
            for shape, row in rows.iterrows():
                say(axes, numbers[str(shape)], row[field], row.gain, (5, 4), "left", "#333333")
            log_ticks(axes, _within((5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200), rows[field]))
            axes.set_xlabel(text if own == LMA else "")
        line[0].set_ylabel(trained)
    legend = [f"{number} {text}" for number, text in enumerate(of_shapes.labels().values())]
    figure.supxlabel(
        "\n".join("     ".join(legend[place : place + 3]) for place in range(0, len(legend), 3)), fontsize=9
    )
    save(figure, path)


def _estimates(evidence: Evidence, name: str, counts: Sequence[int]) -> pd.DataFrame:
    found = {count: known for count in counts if (known := evidence.accuracy(name, count)) is not None}
    rows = [{"accuracy": known.mean, "low": known.low, "high": known.high} for known in found.values()]
    return pd.DataFrame(rows, index=list(found), columns=["accuracy", "low", "high"])


def stages_of_means(means: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Milliseconds of the tiny world's stages, by method and frames."""
    return means.loc[list(names), [f"{stage}_ms" for stage in STAGES]].set_axis(list(STAGES), axis=1)


def stages_of_record(record: LatencyRecord) -> pd.DataFrame:
    """Milliseconds of the stages of whole models at real shapes; ``note`` says what is computed."""
    rows = [row for name in REAL_STORY for row in record.suite("pipeline", name, 1) if row.model_ms and row.frames]
    computed = [[row.stages[stage].computed for stage in MODEL_STAGES] for row in rows]
    notes = ["computed" if all(each) else "partly computed" if any(each) else "" for each in computed]
    ms = [[row.stages[stage].ms for stage in MODEL_STAGES] for row in rows]
    index = pd.MultiIndex.from_tuples([(row.arm, row.frames) for row in rows], names=["method", "frames"])
    return pd.DataFrame(ms, index, list(MODEL_STAGES)).assign(note=notes)


def stage_bars(table: pd.DataFrame, path: Path, title: str) -> None:
    """Each row of stages as shares of its own time, beside its time and its ``note``; methods one below the other."""
    stages = [name for name in STAGES if name in table]
    names, total = table.index.get_level_values("method"), table[stages].sum(axis=1)
    groups, unique = pd.factorize(names)
    heights, left = np.arange(len(table)) + 1.3 * groups, np.zeros(len(table))
    figure, panels = new_figure(10.0, 1.3 + 0.27 * len(table) + 0.3 * len(unique), title)
    axes = panels[0, 0]
    for stage in stages:
        share = (table[stage] / total).to_numpy()
        look = {"color": STAGE_COLOURS[stage], "edgecolor": "white", "linewidth": 0.4}
        bars = axes.barh(heights, share, 0.8, left, label=stage, **look)
        ink = "white" if stage in ("decode", "encode", "prefill") else "black"
        texts = [f"{part:.0%}" if part >= 0.06 else "" for part in share]
        axes.bar_label(bars, texts, label_type="center", fontsize=8, color=ink)
        left += share
    for place, name in enumerate(unique):
        axes.text(0.004, heights[groups == place].min() - 0.95, label(name), fontsize=9.5, weight="bold", va="center")
    in_seconds = total.max() > SECONDS_FROM
    for height, ms, note in zip(heights, total, table.get("note", [""] * len(table)), strict=True):
        time = f"{milliseconds(ms / 1e3)} s" if in_seconds else f"{milliseconds(ms)} ms"
        axes.text(1.01, height, f"{time} ({note})" if note else time, va="center", fontsize=8.5)
    axes.set_yticks(heights, [f"{count} frames" for count in table.index.get_level_values("frames")], fontsize=9)
    axes.set(ylim=(max(heights) + 0.7, -1.6), xlim=(0.0, 1.0), xlabel="share of the time of a video")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(stages), frameon=False)
    save(figure, path)
