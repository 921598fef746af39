"""Methods measured after a sweep: their rows go into its report, and the report says where and when they were measured.

The teacher is measured along. Its answers show that the run is the same, its times whether the machine is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liteframe.bench.records import RowRecord, recorded_method, rows_of
from liteframe.bench.report import build_report
from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS
from liteframe.errors import ConfigError

WITNESS = "teacher"
"""The method that is measured along; its rows stay as they were."""
LARGEST_GAP = 0.01
"""One question in a hundred: so far may the witness be apart, by rounding on other machines."""


def require_same_run(
    report: Mapping[str, Any], settings: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]
) -> None:
    """Raises ConfigError where a report is of another run, seed, split or stage than methods to be added to it."""
    known = report.get("settings") or {}
    for name in ("run", "seed", "split"):
        if known.get(name) != settings[name]:
            raise ConfigError(f"the report is of {name} {known.get(name)}, not {settings[name]}; {_REMEDY}")
    now = {stage["name"]: stage.get("digest") for stage in stages}
    for stage in report.get("stages") or ():
        if stage.get("digest") and now.get(stage["name"], stage["digest"]) != stage["digest"]:
            raise ConfigError(f"the report is of another stage {stage['name']} than the run has now; {_REMEDY}")


_REMEDY = "measure all methods again, without --add"


def with_methods(
    report: Mapping[str, Any],
    rows: Sequence[RowRecord],
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    name: str = "report",
) -> dict[str, Any]:
    """A report with the rows of these methods in place of older ones of the same methods; all others stay.

    Args:
        report: of a sweep of the same run, see `require_same_run`.
        rows: new ones, those of `WITNESS` among them.
        settings: of the sweep that made them.
        environment: that they were measured in.
        name: of the report, for errors.

    Raises:
        ConfigError: the witness was not measured at the same frame counts, or answers otherwise than in the report.
        DataError: the report cannot be read.
    """
    before = rows_of(report, name)
    new = [row for row in rows if row.arm != WITNESS]
    methods = {row.arm for row in new}
    times = _witness_times(before, [row for row in rows if row.arm == WITNESS], name)
    kept = [row for row in before if row.arm not in methods]
    order = list(dict.fromkeys([*RUN_METHODS, *VARIANT_METHODS, *(row.arm for row in kept)]))
    known = dict(report["settings"])
    said = {recorded_method(method, how): how for method, how in (known.get("compressors") or {}).items()}
    said |= {method: settings["compressors"][method] for method in sorted(methods)}
    exports = {name: sha256 for name, sha256 in (known.get("exports") or {}).items() if name not in methods}
    exports |= {name: sha256 for name, sha256 in settings.get("exports", {}).items() if name in methods}
    note = {"arms": sorted(methods), "environment": dict(environment), "teacher_model_ms": times}
    return build_report(
        report["environment"],
        report["stages"],
        sorted((*kept, *new), key=lambda row: order.index(row.arm)),
        settings={**known, "exports": exports, "compressors": said, "added": [*known.get("added", ()), note]},
        limits=report.get("limits"),
    )


def _witness_times(before: Sequence[RowRecord], now: Sequence[RowRecord], name: str) -> dict[str, dict[str, float]]:
    """Model time of the witness then and now, by frame count."""
    known = {row.frames: row for row in before if row.arm == WITNESS}
    shared = [row for row in now if row.frames in known]
    if not shared:
        raise ConfigError(f"{name}: has no row of {WITNESS} at these frame counts; {_REMEDY}")
    for row in shared:
        if abs(row.accuracy - known[row.frames].accuracy) > LARGEST_GAP:
            raise ConfigError(
                f"{name}: {WITNESS} at {row.frames} frames is right in {known[row.frames].accuracy:.3f}, now in"
                f" {row.accuracy:.3f}: the models are not the same; {_REMEDY}"
            )
    return {
        str(row.frames): {"then": round(known[row.frames].model_ms, 3), "now": round(row.model_ms, 3)} for row in shared
    }
