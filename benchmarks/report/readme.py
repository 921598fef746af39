"""The README's tables: the tiny world in short, importance scores, and model times at real shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from liteframe.bench.latency_record import read_latency
from liteframe.bench.methods import STORY, in_order, label, of_groups
from liteframe.system.json_files import read_json

from . import real_shapes
from .provenance import measured_on
from .render import markdown, render
from .wording import milliseconds

FRAMES = (8, 64, 512)
SCORES = {
    "none": "none (average pooling)",
    "class_token x20": "class token, cosine x 20",
    "mean_token x20": "mean token",
    "norm x20": "norm",
}
COMMANDS = {"latency_cpu": "make bench", "latency_gpu": "make bench-gpu"}


def blocks(records: Path) -> dict[str, str]:
    """Name of the markers in the README -> what stands between them."""
    return {
        "results": results(read_json(records / "tiny-seeds.json")),
        "saliency": saliency(read_json(records / "saliency-seed4.json")),
        "latency": latency({command: records / f"{name}.json" for name, command in COMMANDS.items()}),
    }


def results(summary: Mapping[str, Any]) -> str:
    """Accuracy, model time and gains at equal time, from the summary of seeds."""
    rows, seeds = pd.DataFrame(summary["rows"]), summary["seeds"]
    gains = [
        {
            "by": "in model time" if match["field"] == "model_ms" else "end to end, with decoding",
            "frames": match["frames"],
            "mean": _signed(match["mean"]),
            "lowest": _signed(match["lowest"]) if len(seeds) > 1 else "",
        }
        for match in summary["matched_latency"]
    ]
    shown = rows[rows.arm.isin([*STORY, *of_groups("pool")])]
    timed = rows[rows.arm.isin(["teacher", "teacher+wap", "liteframe-lma"])]
    return render(
        "readme_results.md.j2",
        over=f"mean of {len(seeds)} seeds" if len(seeds) > 1 else f"{seeds[0]} alone",
        questions=int(rows.questions.max()) // len(seeds),
        accuracy=_by_frames(shown.assign(text=shown.accuracy.map("{:.3f}".format))),
        times=_by_frames(timed.assign(text=timed.model_ms.map(milliseconds))),
        gains=gains,
    ).strip()


def _by_frames(rows: pd.DataFrame) -> pd.DataFrame:
    wide = rows.pivot(index="arm", columns="frames", values="text").reindex(in_order(rows.arm)).fillna("-")
    return wide.rename(index=label).rename_axis("method").reset_index().rename(columns=str)


def _signed(value: float | None) -> str:
    return "out of range" if value is None else f"{value:+.3f}"


def saliency(record: Mapping[str, Any]) -> str:
    """Accuracy of WAP by what weighs the tokens."""
    rows = pd.DataFrame(record["rows"])
    wide = rows.assign(text=rows.accuracy.map("{:.3f}".format)).pivot(index="arm", columns="frames", values="text")
    wide = wide.reindex(rows.arm.unique()).rename(index=lambda name: SCORES.get(name, name))
    return markdown(wide.rename_axis("importance score").reset_index())


def latency(commands: Mapping[str, Path]) -> str:
    """Model time at the paper's real shapes, a table for each command that has left its record."""
    parts: list[dict[str, Any]] = []
    for command, path in commands.items():
        if not path.exists():
            parts.append({"command": command, "table": None})
            continue
        record = read_latency(path)
        table = real_shapes.headline(record, FRAMES, ("teacher", "teacher+wap", "student"))
        base = f", base VLM {record.settings['host']}" if "host" in record.settings else ""
        where = f"{measured_on(record.environment)}{base}"
        parts.append({"command": command, "table": table, "where": where, "legend": real_shapes.legend(table)})
    return render("readme_latency.md.j2", parts=parts).strip()
