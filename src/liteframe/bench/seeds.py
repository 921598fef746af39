"""Several seeds together: means, the worst seed, and whether the tiny world shows what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from liteframe.bench.frontier import LATENCIES, matched_latency
from liteframe.bench.records import RowRecord, rows_of, write_record
from liteframe.errors import DataError
from liteframe.system.json_files import read_json
from liteframe.system.own_record import require_own_record
from liteframe.system.tables import aligned, grid, or_dash

SEED_SLACK = 0.02
"""How far one seed may lie below a target that the mean has to reach."""
_CTD, _LMA = "liteframe-ctd", "liteframe-lma"
TARGETS = {
    "teacher at 64 frames": 0.94,
    **{f"{_CTD} minus teacher+wap at {frames} frames": -0.03 for frames in (8, 16, 32, 64)},
    f"{_LMA} at 64 frames": 0.90,
    f"{_LMA} at 128 frames": 0.93,
    f"{_LMA}'s gain at the model time of the teacher's 8 frames": 0.12,
    f"{_LMA}'s gain at the model time of the teacher's 16 frames": 0.06,
}
"""An accuracy, or a difference of two -> what its mean over seeds should be at least."""


def figures(rows: Sequence[RowRecord]) -> dict[str, float]:
    """Every accuracy, difference and gain at equal time that a report's rows have, named as in `TARGETS`."""
    found = {f"{row.arm} at {row.frames} frames": row.accuracy for row in rows}
    wap = {row.frames: row.accuracy for row in rows if row.arm == "teacher+wap"}
    for row in rows:
        if row.arm == _CTD and row.frames in wap:
            found[f"{_CTD} minus teacher+wap at {row.frames} frames"] = row.accuracy - wap[row.frames]
    for (field, frames), gain in _gains(rows).items():
        if field == "model_ms" and gain is not None:
            found[f"{_LMA}'s gain at the model time of the teacher's {frames} frames"] = gain
    return found


def _gains(rows: Sequence[RowRecord]) -> dict[tuple[str, int], float | None]:
    """By the field of the time and the teacher's frames: the student's gain at that time."""
    return {(match["field"], match["baseline_frames"]): match["gain"] for match in matched_latency(rows, _LMA)}


def targets_check(reports: Sequence[Mapping[str, Any]], slack: float = SEED_SLACK) -> list[dict[str, Any]]:
    """Each target against the mean over reports and against the lowest one.

    Returns:
        a dict a target: ``target``, ``least``, ``values`` (a report each, None where it has no such figure), ``mean``,
        ``lowest`` and ``reached``: the mean is at least ``least`` and no report more than ``slack`` below it.
    """
    if not reports:
        raise ValueError("no reports to check")
    known = [figures(rows_of(report, f"report {index}")) for index, report in enumerate(reports)]
    checks = []
    for target, least in TARGETS.items():
        found = _mean_and_lowest([own.get(target) for own in known])
        reached = found["mean"] is not None and (
            found["mean"] >= least - 1e-9 and found["lowest"] >= least - slack - 1e-9
        )
        checks.append({"target": target, "least": least, **found, "reached": reached})
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
    for method, frames in cells:
        found = [table[method, frames] for table in tables]
        values = [row.accuracy for row in found]
        rows.append(
            {
                "arm": method,
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
    accuracy = grid(
        "method",
        {(row["arm"], row["frames"]): f"{row['accuracy']:.3f} ({row['lowest']:.3f})" for row in summary["rows"]},
    )
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
    parts = [title, accuracy, targets]
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


def _mean_and_lowest(values: Sequence[float | None]) -> dict[str, Any]:
    """With the values; both None where a report has no such figure."""
    known = [value for value in values if value is not None]
    mean, lowest = (fmean(known), min(known)) if len(known) == len(values) else (None, None)
    return {"values": list(values), "mean": mean, "lowest": lowest}


def _mean_matches(all_rows: Sequence[Sequence[RowRecord]]) -> list[dict[str, Any]]:
    gains = [_gains(rows) for rows in all_rows]
    frames = sorted(set.intersection(*({row.frames for row in rows if row.arm == "teacher"} for rows in all_rows)))
    return [
        {"field": field, "frames": n, **_mean_and_lowest([own.get((field, n)) for own in gains])}
        for field in LATENCIES
        for n in frames
    ]


def _seed_name(report: Mapping[str, Any], path: str | Path) -> str:
    seed = report.get("settings", {}).get("seed")
    return f"seed {seed}" if seed is not None else Path(path).stem
