from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liteframe.bench.records import write_json
from liteframe.paper.cells import CELLS, PaperCell
from liteframe.paper.records import write_cell

VIDEOS, QUESTIONS = 40, 4
ENVIRONMENT: dict[str, Any] = {
    "device": "a machine",
    "threads": 1,
    "dtype": "bfloat16",
    "commit": "0123456789abcdef",
    "dirty": False,
    "packages": {"torch": "2", "transformers": "5"},
}


def _fill(
    records: Path,
    accuracy: Callable[[str, int, int], float],
    cells: Sequence[PaperCell] = CELLS,
    seeds: Sequence[int] = (4, 5, 6),
) -> None:
    """Records of made-up answers; a question is as hard for every arm, so that differences show as in a real run.

    Args:
        accuracy: of an arm, a frame count and a seed.
    """
    tokens = {"encoder": 64, "llm": 16, "asked": 16, "mean_over_layers": None}
    for cell in cells:
        for seed in set(cell.seeds) & set(seeds):
            ease_Q = np.random.default_rng(seed).permutation(np.linspace(0, 1, VIDEOS * QUESTIONS))
            rows = [
                {
                    "arm": arm,
                    "frames": n,
                    "tokens": tokens,
                    "right": (ease_Q < accuracy(arm, n, seed)).astype(int).tolist(),
                }
                for arm, counts in cell.arms
                for n in counts
            ]
            answers = {"videos": np.repeat(np.arange(VIDEOS), QUESTIONS).tolist(), "rows": rows}
            stages = [{"name": "ctd", "seconds": 1.0, "tries": 1, "code": "feed", "digest": "beef"}]
            write_cell(records, cell, seed, ENVIRONMENT, 60.0 * seed, stages, answers)


@pytest.fixture
def fill() -> Callable[..., None]:
    return _fill


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
    arms = [
        {"name": name, "group": "g", "label": "l", "parameters_m": 87.0, "gflops_per_frame": 80.0 + 10 * place}
        for place, name in enumerate(names.values())
    ]
    arms.append({"name": "teacher", "group": "g", "label": "l", "parameters_m": 304.1, "gflops_per_frame": 727.0})
    return {
        "kind": "latency",
        "environment": ENVIRONMENT,
        "settings": {"size": "real", "device": "cpu", "host": "internvl3-1b"},
        "complete": True,
        "arms": arms,
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
            "arm": arm,
            "frames": frames,
            "tokens": frames,
            "accuracy": measured.get((arm, frames), 0.5),
            "accuracy_low": 0.0,
            "accuracy_high": 1.0,
            "questions": 160,
            "videos": 40,
            "decode_ms": 1.0,
            "preprocess_ms": 1.0,
            "encode_ms": (0.5 if arm == "teacher" else 0.8) * ms,
            "project_ms": 0.0,
            "prefill_ms": (0.5 if arm == "teacher" else 0.2) * ms,
        }
        for (arm, frames), ms in times.items()
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
