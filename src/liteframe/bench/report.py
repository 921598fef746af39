"""The sweep's report: one JSON of everything, with a page and a picture made from it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.bench.frontier import matched_latency
from liteframe.bench.records import RowRecord, rows_of
from liteframe.bench.run_page import draw_frontier, page
from liteframe.system.atomic import atomic_write_text
from liteframe.system.json_files import write_json

CHANCE = 0.25
"""Accuracy of guessing: a question has four choices."""
WIDE = 1.5
"""Noisy is a model time whose 90th percentile is so many times its 10th."""


def build_report(
    environment: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    rows: Sequence[RowRecord],
    settings: Mapping[str, Any] | None = None,
    limits: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Everything that ``report.json`` holds.

    Args:
        environment: of ``bench.environment``.
        stages: of the pipeline, each with ``name`` and ``seconds``.
        rows: of the sweep.
        settings: the sweep's, ``seed`` among them.
        limits: what ``measure_limits`` gave.

    Raises:
        ValueError: no rows, or two rows with the same method and frame count.
    """
    if not rows:
        raise ValueError("a report needs rows")
    if len({(row.arm, row.frames) for row in rows}) < len(rows):
        raise ValueError("two rows have the same method and frame count")
    students = [name for name in dict.fromkeys(row.arm for row in rows) if name.startswith("liteframe")]
    return {
        "environment": dict(environment),
        "settings": dict(settings or {}),
        "limits": dict(limits or {}),
        "stages": [dict(stage) for stage in stages],
        "rows": [row.to_dict() for row in rows],
        "matched_latency": [match for student in students for match in matched_latency(rows, student)],
        "notes": notes_from(rows, environment),
    }


def notes_from(rows: Sequence[RowRecord], environment: Mapping[str, Any]) -> list[str]:
    """What a reader of the numbers has to be warned of."""
    runs = {id(row): [row.spread[name]["n"] for name in ("encode", "prefill") if name in row.spread] for row in rows}
    models = [(row, row.spread["model"]) for row in rows if "model" in row.spread]
    found = {
        f"Not above chance ({CHANCE}) by the interval": [row for row in rows if row.accuracy_low <= CHANCE],
        "Fewer than 5 timed runs": [row for row in rows if min(runs[id(row)], default=5) < 5],
        f"The model time's 90th percentile is more than {WIDE} times the 10th": [
            row for row, model in models if model["p90"] > WIDE * model["p10"]
        ],
    }
    dtypes = {row.dtype: list(dict.fromkeys(r.arm for r in rows if r.dtype == row.dtype)) for row in rows if row.dtype}
    notes = [
        f"{what}: {', '.join(f'{r.arm} at {r.frames}' for r in own)} frames." for what, own in found.items() if own
    ]
    notes += [f"Timed in {dtype}: {', '.join(methods)}." for dtype, methods in sorted(dtypes.items())]
    return [*notes, "The checkout had changes that are not committed."] if environment.get("dirty") else notes


def write_report(report: Mapping[str, Any], folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write ``report.json``, ``report.md`` and ``pareto.png``; returns their paths by these names."""
    paths = {name: Path(folder) / name for name in ("report.json", "report.md", "pareto.png")}
    rows = rows_of(report)
    Path(folder).mkdir(parents=True, exist_ok=True)
    draw_frontier(rows, paths["pareto.png"])
    atomic_write_text(paths["report.md"], page(report, rows))
    write_json(paths["report.json"], report)
    return paths
