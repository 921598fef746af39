"""Several seeds together: means, the worst seed, and whether the tiny world shows what it should."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from liteframe.bench.frontier import matched_latency, row_at
from liteframe.bench.records import RowRecord, rows_of, write_record
from liteframe.errors import DataError
from liteframe.system.json_files import read_json
from liteframe.system.own_record import require_own_record
from liteframe.system.tables import aligned, or_dash, signed

SEED_SLACK = 0.02
"""How far one seed may lie below a target that the mean has to reach."""


@dataclass(frozen=True)
class Target:
    """One figure of a report and the least that its mean over seeds should be."""

    name: str
    least: float
    figure: Callable[[Sequence[RowRecord]], float | None]


def _accuracy(arm: str, frames: int, less: str | None = None) -> Callable[[Sequence[RowRecord]], float | None]:
    """Of a method, less that of another where one is given."""

    def figure(rows: Sequence[RowRecord]) -> float | None:
        row, other = row_at(rows, arm, frames), row_at(rows, less or arm, frames)
        return None if row is None or other is None else row.accuracy - (other.accuracy if less else 0.0)

    return figure


def _gain(frames: int, field: str = "model_ms") -> Callable[[Sequence[RowRecord]], float | None]:
    def figure(rows: Sequence[RowRecord]) -> float | None:
        if not {"teacher", "liteframe-lma"} <= {row.arm for row in rows}:
            return None
        matches = matched_latency(rows, frames=(frames,), fields=(field,))
        return matches[0]["gain"] if matches else None

    return figure


TARGETS = (
    Target("teacher at 64 frames", 0.94, _accuracy("teacher", 64)),
    *(
        Target(f"liteframe-ctd minus teacher+wap at {n} frames", -0.03, _accuracy("liteframe-ctd", n, "teacher+wap"))
        for n in (8, 16, 32, 64)
    ),
    Target("liteframe-lma at 64 frames", 0.90, _accuracy("liteframe-lma", 64)),
    Target("liteframe-lma at 128 frames", 0.93, _accuracy("liteframe-lma", 128)),
    Target("liteframe-lma's gain at the model time of the teacher's 8 frames", 0.12, _gain(8)),
    Target("liteframe-lma's gain at the model time of the teacher's 16 frames", 0.06, _gain(16)),
)


def targets_check(reports: Sequence[Mapping[str, Any]], slack: float = SEED_SLACK) -> list[dict[str, Any]]:
    """Each target against the mean over reports and against the lowest one.

    Returns:
        a dict a target: ``target``, ``least``, ``values`` (a report each, None where it has no such figure), ``mean``,
        ``lowest`` and ``reached``: the mean is at least ``least`` and no report more than ``slack`` below it.
    """
    if not reports:
        raise ValueError("no reports to check")
    all_rows = [rows_of(report, f"report {index}") for index, report in enumerate(reports)]
    checks: list[dict[str, Any]] = []
    for target in TARGETS:
        values = [target.figure(rows) for rows in all_rows]
        mean, lowest = _mean_and_lowest(values)
        checks.append(
            {
                "target": target.name,
                "least": target.least,
                "values": values,
                "mean": mean,
                "lowest": lowest,
                "reached": mean is not None
                and lowest is not None
                and mean >= target.least - 1e-9
                and lowest >= target.least - slack - 1e-9,
            }
        )
    return checks


def summarise_seeds(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Mean, lowest and highest accuracy and mean latencies of each method and frame count that all reports have.

    Returns:
        ``seeds`` (names), ``rows``, ``matched_latency`` (mean and lowest gain), ``targets`` and ``reached``.

    Raises:
        DataError: a file is no report, a seed comes twice, or no row is in all reports.
    """
    reports = [read_json(path) for path in paths]
    if not reports:
        raise DataError("no reports given: name the report.json of each seed")
    names = [_seed_name(report, path) for report, path in zip(reports, paths, strict=True)]
    if len(set(names)) < len(names):
        raise DataError(f"the reports are of {', '.join(names)}: give each seed once")
    all_rows = [rows_of(report, str(path)) for report, path in zip(reports, paths, strict=True)]
    tables = [{(row.arm, row.frames): row for row in rows} for rows in all_rows]
    cells = [cell for cell in tables[0] if all(cell in table for table in tables)]
    if not cells:
        raise DataError("the reports have no method and frame count in common; they are of different sweeps")
    rows = []
    for arm, frames in cells:
        found = [table[arm, frames] for table in tables]
        values = [row.accuracy for row in found]
        rows.append(
            {
                "arm": arm,
                "frames": frames,
                "tokens": found[0].tokens,
                "accuracy": fmean(values),
                "lowest": min(values),
                "highest": max(values),
                "values": values,
                "questions": sum(row.questions for row in found),
                "model_ms": fmean(row.model_ms for row in found),
                "total_ms": fmean(row.total_ms for row in found),
            }
        )
    checks = targets_check(reports)
    return {
        "seeds": names,
        "left_out": sorted({f"{a} at {n}" for table in tables for a, n in table if (a, n) not in cells}),
        "rows": rows,
        "matched_latency": _mean_matches(all_rows),
        "targets": checks,
        "reached": all(check["reached"] for check in checks),
    }


def seeds_table(summary: Mapping[str, Any]) -> str:
    """The summary for the terminal."""
    frames = sorted({row["frames"] for row in summary["rows"]})
    cells = {(row["arm"], row["frames"]): f"{row['accuracy']:.3f} ({row['lowest']:.3f})" for row in summary["rows"]}
    arms = list(dict.fromkeys(row["arm"] for row in summary["rows"]))
    accuracy = aligned(
        ["method", *(str(count) for count in frames)],
        [[arm, *(cells.get((arm, count), "-") for count in frames)] for arm in arms],
    )
    matches = [
        [
            f"teacher, {match['frames']} frames",
            "model" if match["field"] == "model_ms" else "end to end",
            signed(match["mean"]),
            signed(match["lowest"]),
        ]
        for match in summary["matched_latency"]
    ]
    matched = aligned(["liteframe-lma at equal latency", "by", "mean gain", "lowest"], matches)
    checks = [
        [
            check["target"],
            f"{check['least']:.2f}",
            or_dash(check["mean"]),
            or_dash(check["lowest"]),
            "reached" if check["reached"] else "NOT reached" if check["mean"] is not None else "not measured",
        ]
        for check in summary["targets"]
    ]
    targets = aligned(["target", "at least", "mean", "lowest", ""], checks)
    title = f"Accuracy, mean of {len(summary['seeds'])} seeds (lowest seed)"
    parts = [title, accuracy, matched, targets]
    if summary["left_out"]:
        parts.append("Not in every report, so left out: " + ", ".join(summary["left_out"]))
    return "\n\n".join(parts)


def seeds_command(reports: list[str], output: str | None = None) -> int:
    """Summarise the reports of several seeds, write a record and print the table.

    Args:
        reports: paths of ``report.json``, one a seed.
        output: where the record goes; ``runs/seeds.json`` under the current folder unless told.

    Returns:
        0 if every target is reached, else 1.
    """
    target = output or Path("runs") / "seeds.json"
    require_own_record(target, ("kind", "environment"), "--output")
    summary = summarise_seeds(reports)
    environments = [read_json(path).get("environment", {}) for path in reports]
    path = write_record(
        target,
        kind="seeds",
        environment=dict(zip(summary["seeds"], environments, strict=True)),
        settings={"reports": len(reports), "slack": SEED_SLACK},
        data=summary,
    )
    print(seeds_table(summary))
    print(f"\nwritten: {path}")
    return 0 if summary["reached"] else 1


def _mean_and_lowest(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Both None where a report has no such figure."""
    known = [value for value in values if value is not None]
    return (fmean(known), min(known)) if len(known) == len(values) else (None, None)


def _mean_matches(all_rows: Sequence[Sequence[RowRecord]]) -> list[dict[str, Any]]:
    frames = sorted(set.intersection(*({row.frames for row in rows if row.arm == "teacher"} for rows in all_rows)))
    matches: list[dict[str, Any]] = []
    for field in ("model_ms", "total_ms"):
        for count in frames:
            values = [_gain(count, field)(rows) for rows in all_rows]
            mean, lowest = _mean_and_lowest(values)
            matches.append({"field": field, "frames": count, "values": values, "mean": mean, "lowest": lowest})
    return matches


def _seed_name(report: Mapping[str, Any], path: str | Path) -> str:
    seed = report.get("settings", {}).get("seed")
    return f"seed {seed}" if seed is not None else Path(path).stem
