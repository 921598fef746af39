"""The records that the results page is made from, found under one folder and read with their paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.bench.latency_record import LatencyRecord, read_latency
from liteframe.bench.records import RowRecord, read_json, rows_of
from liteframe.errors import DataError


@dataclass(frozen=True)
class SweepReport:
    """A sweep's report: path beside the page, whole content, rows."""

    path: str
    report: dict[str, Any]
    rows: list[RowRecord]

    @property
    def environment(self) -> Mapping[str, Any]:
        """What it was measured on."""
        environment: Mapping[str, Any] = self.report.get("environment") or {}
        return environment

    @property
    def seed(self) -> str:
        """Such as "seed 4", the name in the summary of seeds."""
        return f"seed {(self.report.get('settings') or {}).get('seed')}"


@dataclass(frozen=True)
class Records:
    """What there is; a latency that is None was not measured yet.

    Attributes:
        seeds: reports that the tables average, those of ``tiny-seeds.json``.
        others: reports of other runs that were kept.
        latency: "cpu" or "gpu" -> record and its path beside the page.
    """

    seeds: list[SweepReport]
    others: list[SweepReport]
    latency: dict[str, tuple[str, LatencyRecord]]


def read_records(folder: Path) -> Records:
    """All records under ``folder``: ``tiny*/report.json``, ``tiny-seeds.json``, ``latency_{cpu,gpu}.json``.

    Raises:
        DataError: a record cannot be read, lacks a field, or the summary of seeds is not of these reports.
    """
    summary_path = folder / "tiny-seeds.json"
    summary = read_json(summary_path)
    if not isinstance(summary.get("seeds"), list) or not isinstance(summary.get("rows"), list):
        raise DataError(f"{summary_path}: field 'seeds' or 'rows' is missing; write it with `liteframe seeds`")
    reports = [_report(path, folder) for path in sorted(folder.glob("tiny*/report.json"))]
    named = {report.seed: report for report in reports}
    absent = [seed for seed in summary["seeds"] if seed not in named]
    if absent:
        raise DataError(
            f"{summary_path}: field 'seeds' names {', '.join(absent)}, of which {folder} has no tiny*/report.json"
        )
    seeds = [named[seed] for seed in summary["seeds"]]
    _require_summary_of(seeds, summary, summary_path)
    latency = {
        device: (f"{folder.name}/latency_{device}.json", read_latency(folder / f"latency_{device}.json"))
        for device in ("cpu", "gpu")
        if (folder / f"latency_{device}.json").exists()
    }
    return Records(seeds, [report for report in reports if report not in seeds], latency)


def _report(path: Path, folder: Path) -> SweepReport:
    report = read_json(path)
    rows = rows_of(report, str(path))
    if not rows:
        raise DataError(f"{path}: field 'rows' is empty; run `liteframe bench` again")
    return SweepReport(f"{folder.name}/{path.relative_to(folder).as_posix()}", report, rows)


def _require_summary_of(seeds: list[SweepReport], summary: Mapping[str, Any], path: Path) -> None:
    """The summary's accuracies are those of the reports, arm by arm and seed by seed."""
    tables = [{(row.arm, row.frames): row.accuracy for row in report.rows} for report in seeds]
    for row in summary["rows"]:
        cell = (row.get("arm"), row.get("frames"))
        if [table.get(cell) for table in tables] != row.get("values"):
            raise DataError(
                f"{path}: field 'values' of {cell[0]} at {cell[1]} frames is not what the reports say; make it again "
                f"with `liteframe seeds` of the reports of {', '.join(report.seed for report in seeds)}"
            )
