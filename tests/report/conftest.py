from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import made_up_cells
import made_up_rows
from liteframe.bench.records import RowRecord
from liteframe.system.json_files import write_json


@pytest.fixture
def fake_rows() -> Callable[..., list[RowRecord]]:
    return made_up_rows.fake_rows


@pytest.fixture
def fill() -> Callable[..., None]:
    return made_up_cells.fill


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Where the records of cells go, as in the repository."""
    return tmp_path / "benchmarks" / "records" / "paper"


def latency_record(**ms: float) -> dict[str, Any]:
    """A record of latencies at the paper's shapes: milliseconds by mixer."""
    names = {"depthwise": "student", **{mixer: f"student-{mixer}" for mixer in ms if mixer != "depthwise"}}
    stage = {"computed": False, "n": 5}
    rows: list[dict[str, Any]] = [
        {
            "suite": "mixer",
            "arm": names[mixer],
            "frames": 4,
            "batch": 1,
            "status": "ok",
            "computed": False,
            "stages": {"encode": {"ms": value, **stage}, "project": {"ms": 1.0, **stage}},
        }
        for mixer, value in ms.items()
    ]
    methods = [
        {"name": name, "group": "g", "label": "l", "parameters_m": 87.0, "gflops_per_frame": 80.0 + 10 * place}
        for place, name in enumerate(names.values())
    ]
    methods.append({"name": "teacher", "group": "g", "label": "l", "parameters_m": 304.1, "gflops_per_frame": 727.0})
    return {
        "kind": "latency",
        "environment": made_up_cells.ENVIRONMENT,
        "settings": {"size": "real", "device": "cpu", "host": "internvl3-1b"},
        "complete": True,
        "arms": methods,
        "rows": rows,
    }


@pytest.fixture
def shapes_record() -> Callable[..., Mapping[str, Any]]:
    return latency_record


@pytest.fixture
def report() -> Callable[..., None]:
    """Writes a sweep's report whose rows have the given model times, and the accuracies that the cells measured.

    The 95 % interval of a time's median is from the share ``noise`` below it to as much above; with None the report has
    no samples.
    """
    return _report


def _report(records: Path, seed: int, times: Mapping[tuple[str, int], float], noise: float | None = 0.1) -> None:
    measured = {}
    for path in (records / f"seed{seed}").glob("*.json"):
        for row in json.loads(path.read_text())["rows"]:
            measured[row["arm"], row["frames"]] = float(np.mean(row["right"]))
    rows: list[dict[str, Any]] = [
        {
            "arm": method,
            "frames": frames,
            "tokens": frames,
            "accuracy": measured.get((method, frames), 0.5),
            "accuracy_low": 0.0,
            "accuracy_high": 1.0,
            "questions": 160,
            "videos": 40,
            "decode_ms": 1.0,
            "preprocess_ms": 1.0,
            "encode_ms": (0.5 if method == "teacher" else 0.8) * ms,
            "project_ms": 0.0,
            "prefill_ms": (0.5 if method == "teacher" else 0.2) * ms,
        }
        for (method, frames), ms in times.items()
    ]
    for row in rows if noise is not None else ():
        # Of 9 runs the second and the eighth: the median lies outside with a probability of 20 / 512.
        runs = (0.1, 1 - noise, 1 - noise / 2, 1, 1, 1, 1 + noise / 2, 1 + noise, 9.0)
        row["samples"] = {
            stage: [run * ms for run in runs]
            for stage in ("encode", "project", "prefill")
            for ms in [row[f"{stage}_ms"]]
        }
    write_json(records.parent / f"tiny-seed{seed}" / "report.json", {"rows": rows})
