"""Tables of README and docs: the tiny world in short, importance scores, and model times at real shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from liteframe.bench.latency_record import LatencyRecord
from liteframe.bench.methods import STORY, of_groups
from liteframe.bench.paper.cells import FRAMES as ACCURACY_FRAMES
from liteframe.bench.paper.cells import FURTHER_CELLS
from liteframe.system.json_files import read_json

from . import real_shapes, tiny_world
from .evidence import Evidence
from .provenance import measured_on
from .records import Records, read_beyond, read_records
from .render import markdown, render
from .verdicts import MISSING
from .wording import milliseconds

FRAMES = (8, 64, 512)
SCORES = {
    "none": "none (average pooling)",
    "class_token x20": "class token, cosine x 20",
    "mean_token x20": "mean token",
    "norm x20": "norm",
}
TRAINED = {
    "teacher, all tokens": ("teacher", "lma-teacher"),
    "student": ("liteframe-ctd", "liteframe-lma"),
    "teacher + WAP": ("teacher+wap", "lma-teacher-wap"),
    "teacher + average pooling": ("teacher+average", "lma-teacher-average"),
}
"""What the LLM reads -> the methods before and after it was trained on it."""
COMMANDS = {"latency_cpu": "make bench", "latency_gpu": "make bench-gpu"}


def headline_blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the README -> what stands between them, from the records in a folder."""
    return {
        "headline": headline(read_records(folder, cells=())),
        "training": training(Evidence(read_beyond(folder), FURTHER_CELLS)),
    }


def tiny_world_blocks(folder: Path) -> dict[str, str]:
    """The same for the page of the tiny world."""
    return {"results": results(read_records(folder, cells=()))}


def stages_blocks(folder: Path) -> dict[str, str]:
    """The same for the page of the stages."""
    return {"saliency": saliency(read_json(folder / "saliency-seed4.json"))}


def measured_blocks(folder: Path) -> dict[str, str]:
    """The same for the page of what is measured."""
    return {"latency": latency(read_records(folder, cells=()).latency)}


def headline(records: Records) -> str:
    """Accuracy and model time of teacher and student, means of the seeds."""
    means = tiny_world.mean_rows(tiny_world.sweep_rows(records))
    cells = {
        "accuracy": means.accuracy.map("{:.3f}".format),
        "milliseconds": means.model_ms.map(milliseconds),
    }
    tables = []
    for what, values in cells.items():
        of_both = values[values.index.get_level_values("method").isin(["teacher", "liteframe-lma"])]
        wide = tiny_world.by_frames(of_both)
        tables.append(wide.assign(method=wide.method + f", {what}"))
    both = pd.concat(tables).sort_values("method", key=lambda names: ~names.str.startswith("teacher"), kind="stable")
    return render("readme_headline.md.j2", over=_over(records), rows=both).strip()


def training(evidence: Evidence) -> str:
    """Accuracy of student and teacher with and without training on the world's questions, on the same runs."""
    frames = max(ACCURACY_FRAMES)
    found = {what: [evidence.accuracy(method, frames) for method in methods] for what, methods in TRAINED.items()}
    seeds = sorted({seed for pair in found.values() for each in pair if each is not None for seed in each.seeds})
    rows = [[what, *(MISSING if each is None else f"{each.mean:.3f}" for each in pair)] for what, pair in found.items()]
    columns = ["what the LLM reads", "before", "after the training of LMA"]
    gains = {
        what: MISSING
        if (gain := evidence.combine({(after, frames): 1.0, (before, frames): -1.0})) is None
        else f"{gain.mean:+.3f}"
        for what, (before, after) in TRAINED.items()
    }
    table = pd.DataFrame(rows, columns=columns)
    return render("readme_training.md.j2", over=_over_seeds(seeds), rows=table, gains=gains).strip()


def _over(records: Records) -> str:
    return _over_seeds(records.mean_of)


def _over_seeds(seeds: Sequence[int]) -> str:
    return f"mean of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]} alone"


def results(records: Records) -> str:
    """Accuracy, model time and gains at equal time, means of the seeds."""
    rows, seeds = tiny_world.sweep_rows(records), records.mean_of
    means, equal = tiny_world.mean_rows(rows), tiny_world.equal_time(rows)
    name = means.index.get_level_values("method")
    accuracy = means.accuracy[name.isin([*STORY, *of_groups("pool")])].map("{:.3f}".format)
    times = means.model_ms[name.isin(["teacher", "teacher+wap", "liteframe-lma"])].map(milliseconds)
    gains = [
        {
            "by": "in model time" if row.by == "model" else "end to end, with decoding",
            "frames": row.teacher_frames,
            "mean": _signed(row.gain),
            "lowest": _signed(row.lowest) if len(seeds) > 1 else "",
        }
        for row in equal[equal.method == "liteframe-lma"].itertuples()
    ]
    return render(
        "readme_results.md.j2",
        over=_over(records),
        questions=int(means.questions.max()) // len(seeds),
        accuracy=tiny_world.by_frames(accuracy),
        times=tiny_world.by_frames(times),
        dtype=" or ".join(tiny_world.dtypes(rows)),
        gains=gains,
    ).strip()


def _signed(value: float) -> str:
    return "out of range" if isnan(value) else f"{value:+.3f}"


def saliency(record: Mapping[str, Any]) -> str:
    """Accuracy of WAP by what weighs the tokens."""
    rows = pd.DataFrame(record["rows"])
    wide = rows.assign(text=rows.accuracy.map("{:.3f}".format)).pivot(index="arm", columns="frames", values="text")
    wide = wide.reindex(rows.arm.unique()).rename(index=lambda name: SCORES.get(name, name))
    return markdown(wide.rename_axis("importance score").reset_index())


def latency(records: Mapping[str, LatencyRecord]) -> str:
    """Model time at the paper's real shapes, a table for each command that has left its record."""
    parts: list[dict[str, Any]] = []
    for name, command in COMMANDS.items():
        if (record := records.get(name)) is None:
            parts.append({"command": command, "table": None})
            continue
        table = real_shapes.headline(record, FRAMES, ("teacher", "teacher+wap", "student"))
        base = f", base VLM {record.settings['host']}" if "host" in record.settings else ""
        where = f"{measured_on(record.environment)}{base}"
        parts.append({"command": command, "table": table, "where": where, "legend": real_shapes.legend(table)})
    return render("readme_latency.md.j2", parts=parts).strip()
