"""The sweep's report: one JSON of everything, a page of tables made from it, and a short table for the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.bench.frontier import (
    baseline_shares,
    matched_latency,
    pareto_front,
    speed_ups,
    speed_ups_at_accuracy,
)
from liteframe.bench.records import RowRecord, rows_of
from liteframe.bench.run_page import draw_frontier, page
from liteframe.bench.tables import terminal
from liteframe.system.atomic import atomic_write_text
from liteframe.system.json_files import write_json

WIDE = 1.5
"""Noisy is a model time whose 90th percentile is so many times its 10th."""


def build_report(
    environment: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    rows: Sequence[RowRecord],
    settings: Mapping[str, Any] | None = None,
    limits: Mapping[str, float] | None = None,
    records: Sequence[str] = (),
    chance: float | None = None,
    baseline: str = "teacher",
) -> dict[str, Any]:
    """Everything that ``report.json`` holds.

    Args:
        environment: of ``bench.environment``.
        stages: of the pipeline, each with ``name`` and ``seconds``.
        rows: of the sweep.
        settings: the sweep's, ``seed`` among them.
        limits: what ``measure_limits`` gave.
        records: names of the files that hold more raw samples.
        chance: accuracy of guessing.
        baseline: the method that students are compared with, at each of its frame counts.

    Raises:
        ValueError: no rows, or two rows with the same method and frame count.
    """
    if not rows:
        raise ValueError("a report needs rows")
    cells = [(row.arm, row.frames) for row in rows]
    if len(set(cells)) < len(cells):
        raise ValueError("two rows have the same method and frame count")
    for stage in stages:
        if "name" not in stage or "seconds" not in stage:
            raise ValueError(f"a stage needs 'name' and 'seconds', got {dict(stage)}")
    methods = list(dict.fromkeys(row.arm for row in rows))
    students = [method for method in methods if method.startswith("liteframe")]
    frames = sorted({row.frames for row in rows if row.arm == baseline})
    compared = students if frames else []
    fields = ("model_ms", "total_ms")
    return {
        "environment": dict(environment),
        "settings": dict(settings or {}),
        "limits": dict(limits or {}),
        "stages": [dict(stage) for stage in stages],
        "rows": [row.to_dict() for row in rows],
        "matched_latency": [
            match for method in compared for match in matched_latency(rows, baseline, method, frames, fields)
        ],
        "speed_ups": {method: speed_ups(rows, baseline, method) for method in compared},
        "at_equal_accuracy": {
            method: [entry for field in fields for entry in speed_ups_at_accuracy(rows, baseline, method, field)]
            for method in compared
        },
        "pareto_front": {
            field: [{"arm": row.arm, "frames": row.frames} for row in pareto_front(rows, field)] for field in fields
        },
        "shares": {method: baseline_shares(rows, method) for method in ([baseline] if frames else []) + students},
        "notes": notes_from(rows, environment, chance),
        "records": list(records),
    }


def notes_from(rows: Sequence[RowRecord], environment: Mapping[str, Any], chance: float | None) -> list[str]:
    """What a reader of the numbers has to be warned of."""
    at_chance = [row for row in rows if chance is not None and row.accuracy_low <= chance]
    runs = {id(row): [row.spread[name]["n"] for name in ("encode", "prefill") if name in row.spread] for row in rows}
    few = [row for row in rows if runs[id(row)] and min(runs[id(row)]) < 5]
    models = [(row, row.spread["model"]) for row in rows if "model" in row.spread]
    wide = [row for row, model in models if model["p90"] > WIDE * model["p10"]]
    found = {
        f"Not above chance ({chance}) by the interval": at_chance,
        "Fewer than 5 timed runs": few,
        f"The model time's 90th percentile is more than {WIDE} times the 10th": wide,
    }
    notes = [
        f"{what}: {', '.join(f'{r.arm} at {r.frames}' for r in own)} frames." for what, own in found.items() if own
    ]
    return [*notes, "The checkout had changes that are not committed."] if environment.get("dirty") else notes


def write_report(report: Mapping[str, Any], folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write ``report.json``, ``report.md`` and ``pareto.png``; returns their paths by these names."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    picture = target / "pareto.png"
    draw_frontier(rows_of(report), picture)
    markdown = target / "report.md"
    atomic_write_text(markdown, page(report, rows_of(report)))
    written = write_json(target / "report.json", report)
    return {"report.json": written, "report.md": markdown, "pareto.png": picture}


def table_text(report: Mapping[str, Any]) -> str:
    """The terminal's table, no wider than 100 columns."""
    return terminal(report, rows_of(report))
