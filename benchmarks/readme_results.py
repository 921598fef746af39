"""Fills the README's results in from the committed records: `python benchmarks/readme_results.py`.

With `--check` nothing is written; the exit code is 1 where the README says something else than the records.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from liteframe.bench.latency_cells import legend
from liteframe.bench.latency_page import headline_table
from liteframe.bench.latency_record import LatencyRecord, read_latency
from liteframe.bench.page import markdown
from liteframe.bench.provenance import measured_on
from liteframe.bench.records import read_json

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = ROOT / "benchmarks" / "records" / "tiny-seeds.json"
SALIENCY = ROOT / "benchmarks" / "records" / "saliency-seed4.json"
LATENCIES = {
    "make bench": ROOT / "benchmarks" / "records" / "latency_cpu.json",
    "make bench-gpu": ROOT / "benchmarks" / "records" / "latency_gpu.json",
}
README = ROOT / "README.md"
_ARMS = {
    "teacher": "teacher, 16 tokens a frame",
    "teacher+average": "teacher + average, 1 token a frame",
    "teacher+max": "teacher + max",
    "teacher+subsample": "teacher + subsample",
    "teacher+wap": "teacher + WAP",
    "liteframe-ctd": "student after CTD, LLM frozen",
    "liteframe-lma": "student after LMA",
}
_SALIENCIES = {
    "none": "none (average pooling)",
    "class_token x20": "class token, cosine x 20",
    "mean_token x20": "mean token",
    "norm x20": "norm",
}


def results(record: dict[str, Any]) -> str:
    """The markdown between the README's markers."""
    summary = record
    rows = {(row["arm"], row["frames"]): row for row in summary["rows"]}
    frames = sorted({count for _, count in rows})
    accuracy = [
        [_ARMS[arm], *(f"{rows[arm, n]['accuracy']:.3f}" if (arm, n) in rows else "-" for n in frames)] for arm in _ARMS
    ]
    latency = [
        [_ARMS[arm], *(f"{rows[arm, n]['model_ms']:.1f}" if (arm, n) in rows else "-" for n in frames)]
        for arm in ("teacher", "teacher+wap", "liteframe-lma")
    ]
    gains = [
        f"{'in model time' if match['field'] == 'model_ms' else 'end to end, with decoding'}, of the teacher's"
        f" {match['frames']} frames: {_signed(match['mean'])}"
        + (f" (lowest seed {_signed(match['lowest'])})" if len(summary["seeds"]) > 1 else "")
        for match in summary["matched_latency"]
    ]
    questions = max(row["questions"] for row in summary["rows"]) // len(summary["seeds"])
    return "\n".join(
        [
            f"Accuracy by frames, {_seeds(summary['seeds'])}, {questions:,} held-out questions each (chance 0.25):",
            "",
            markdown(["arm", *map(str, frames)], accuracy),
            "",
            "Model time of a video in milliseconds (two CPU cores, bf16, batch 1):",
            "",
            markdown(["arm", *map(str, frames)], latency),
            "",
            "The student after LMA against the teacher at the same time to answer, gain in accuracy:",
            "",
            *(f"- {gain}" for gain in gains),
        ]
    )


def _seeds(names: list[str]) -> str:
    return f"mean of {len(names)} seeds" if len(names) > 1 else f"{names[0]} alone"


def _signed(value: float | None) -> str:
    return "out of range" if value is None else f"{value:+.3f}"


def saliency(record: dict[str, Any]) -> str:
    """Accuracy of WAP by what weighs the tokens, as a table."""
    rows = {(row["arm"], row["frames"]): row["accuracy"] for row in record["rows"]}
    arms = list(dict.fromkeys(arm for arm, _ in rows))
    frames = sorted({count for _, count in rows})
    shown = [[_SALIENCIES.get(arm, arm), *(f"{rows[arm, count]:.3f}" for count in frames)] for arm in arms]
    return markdown(["saliency", *map(str, frames)], shown)


def latency(commands: dict[str, Path]) -> str:
    """Model time at the paper's real shapes by arm and frames, a table for each command that has left its record."""
    parts = ["Model time at the paper's real shapes, with random weights: milliseconds a video of 448 px, batch 1."]
    for command, path in commands.items():
        parts.append(_latency_of(read_latency(path)) if path.exists() else f"Not measured yet: `{command}`.")
    parts.append("Every table and picture is in [benchmarks/RESULTS.md](benchmarks/RESULTS.md).")
    return "\n\n".join(parts)


def _latency_of(record: LatencyRecord) -> str:
    table = headline_table(record, (8, 64, 512), ("teacher", "teacher+wap", "student"))
    host = f", host {record.settings['host']}" if "host" in record.settings else ""
    where = f"{measured_on(record.environment)}{host}:"
    return "\n\n".join(part for part in (where, table or "No whole pipeline in this record.", legend(table)) if part)


def fill(text: str, name: str, block: str) -> str:
    """The text with what is between the markers of that name replaced."""
    begin, end = f"<!-- {name}: begin (made by benchmarks/readme_results.py) -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{block}\n{end}{after}"


def main(args: list[str]) -> int:
    text = README.read_text(encoding="utf-8")
    filled = fill(text, "results", results(read_json(SUMMARY)))
    filled = fill(filled, "saliency", saliency(read_json(SALIENCY)))
    filled = fill(filled, "latency", latency(LATENCIES))
    if "--check" in args:
        return int(filled != text)
    README.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
