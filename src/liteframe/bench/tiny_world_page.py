"""The results page's half about the tiny world: accuracy and latency of every arm, mean over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from liteframe.bench.arm_names import arm_name, in_order
from liteframe.bench.frontier import baseline_shares, matched_latency, speed_ups
from liteframe.bench.notes import notes_from
from liteframe.bench.page import markdown
from liteframe.bench.records import FILE_STAGES, MODEL_STAGES, STAGES, RowRecord
from liteframe.bench.tables import FIELD_NAMES, grid, milliseconds, or_dash, signed

_BASELINE = "teacher"
_ALIKE = 1.01
LEAST = "◁"
"""Behind an accuracy that belongs to an arm's slowest row: at a later time it may be higher."""


def accuracy_table(rows: Sequence[RowRecord]) -> str:
    """Accuracy by arm and frames, with intervals."""
    header, lines = grid(
        rows, lambda r: f"{r.accuracy:.3f} ± {max(r.accuracy - r.accuracy_low, r.accuracy_high - r.accuracy):.3f}"
    )
    return markdown(header, _named(lines))


def model_time_table(rows: Sequence[RowRecord]) -> str:
    """Model time by arm and frames."""
    header, lines = grid(rows, lambda row: milliseconds(row.model_ms))
    return markdown(header, _named(lines))


def stage_table(rows: Sequence[RowRecord]) -> str:
    """Every stage of every arm and frame count, and what extra stages an arm has."""
    extra = list(dict.fromkeys(name for row in rows for name in row.extra_ms))
    lines = [
        [
            arm_name(row.arm),
            row.frames,
            *(milliseconds(value) for value in row.stage_ms.values()),
            *(milliseconds(row.extra_ms[name]) if name in row.extra_ms else "-" for name in extra),
            milliseconds(row.model_ms),
            milliseconds(row.total_ms),
        ]
        for row in _sorted(rows)
    ]
    return markdown(["arm", "frames", *STAGES, *extra, "model", "end to end"], lines)


def token_table(rows: Sequence[RowRecord]) -> str:
    """Tokens at three points; where an arm was asked for a budget, that and what it gave of it; where tokens go inside
    the LLM, how many its layers see in the mean. Columns that no arm fills are left out.
    """
    lines: list[list[str]] = []
    for row in _sorted(rows):
        asked, layers = row.tokens_asked, row.tokens_mean_over_layers
        lines.append(
            [
                arm_name(row.arm),
                *(str(count) for count in (row.frames, row.tokens_encoder, row.tokens)),
                f"{row.tokens_per_frame:.4g}",
                str(asked) if asked else "-",
                f"{row.tokens / asked:.2f}x" if asked else "-",
                f"{layers:.4g}" if layers is not None else "-",
            ]
        )
    header = ["arm", "frames", "encoder's output", "what the LLM sees", "per frame", "asked for", "given over asked"]
    header.append("mean over the LLM's layers")
    keep = [i for i in range(len(header)) if i < 5 or any(line[i] != "-" for line in lines)]
    return markdown([header[i] for i in keep], [[line[i] for i in keep] for line in lines])


def matched_table(seeds: Sequence[Sequence[RowRecord]]) -> str:
    """What every other arm reaches at the time of each of the teacher's rows, mean of the seeds' own comparisons.

    Marked where an arm's slowest row, which may be faster, stands in. Empty without a teacher.
    """
    arms = in_order([row.arm for rows in seeds for row in rows])
    if _BASELINE not in arms:
        return ""
    frames = sorted(set.intersection(*({row.frames for row in rows if row.arm == _BASELINE} for rows in seeds)))
    arms = [arm for arm in arms if all(any(row.arm == arm for row in rows) for rows in seeds)]
    lines = []
    for arm in arms[1:]:
        for field in ("model_ms", "total_ms"):
            found = [matched_latency(rows, _BASELINE, arm, frames, (field,)) for rows in seeds]
            cells = [_mean_match([matches[place] for matches in found]) for place in range(len(frames))]
            lines.append([arm_name(arm), FIELD_NAMES[field], *cells])
    return markdown(["arm", "by", *(f"at the teacher's {count}" for count in frames)], lines)


def speed_up_table(rows: Sequence[RowRecord]) -> str:
    """Teacher over arm, with each stage's share of the teacher's time and what removing the stage would give."""
    if not any(row.arm == _BASELINE for row in rows):
        return ""
    shares = {entry["frames"]: entry["model"] for entry in baseline_shares(rows, _BASELINE)}
    lines = []
    for arm in in_order([row.arm for row in rows]):
        if arm == _BASELINE:
            continue
        for entry in speed_ups(rows, _BASELINE, arm):
            share = shares[int(entry["frames"])]
            cells = [
                f"{entry[name]:.2f}x ({share[name]['share']:.0%}, {_times(share[name]['ceiling'])})"
                if name in entry
                else "-"
                for name in ("encode", "prefill")
            ]
            whole = [f"{entry[name]:.2f}x" if name in entry else "-" for name in ("model", "total")]
            lines.append([arm_name(arm), entry["frames"], *cells, *whole])
    return markdown(["arm", "frames", "encode", "prefill", "model", "end to end"], lines)


def floor_table(rows: Sequence[RowRecord]) -> str:
    """Time of a stage against the least that the machine allows; empty where no row has floors."""
    lines = [
        [
            arm_name(row.arm),
            row.frames,
            name,
            milliseconds(row.stage_ms[name]),
            f"{floor['floor_ms']:.3f}",
            floor["bound"],
            _times(floor["times_floor"]),
        ]
        for row in _sorted(rows)
        for name, floor in row.floor.items()
    ]
    return markdown(["arm", "frames", "stage", "ms", "floor ms", "bound by", "over the floor"], lines) if lines else ""


def memory_table(rows: Sequence[RowRecord]) -> str:
    """Peak memory, MiB, the most of the file's stages and each of the model's; a sentence where all are alike."""
    peaks = [peak for row in rows for peak in row.peak_mib.values()]
    if peaks and max(peaks) <= _ALIKE * min(peaks):
        return (
            f"{min(peaks):,.0f} to {max(peaks):,.0f} in every stage of every arm: they share a process, whose peak is "
            "that of the models that lie in it."
        )
    lines = [
        [arm_name(row.arm), row.frames, *("-" if peak is None else f"{peak:,.0f}" for peak in _peaks(row))]
        for row in _sorted(rows)
        if row.peak_mib
    ]
    return markdown(["arm", "frames", "decode, preprocess", *MODEL_STAGES], lines) if lines else ""


def notes(rows: Sequence[RowRecord], seeds: Sequence[Sequence[RowRecord]], chance: float) -> str:
    """The sentences that numbers demand, as a list; `rows` are the means of the seeds'."""
    return "\n".join(f"- {note}" for note in notes_from(rows, None, chance, seeds))


def limits_line(reports: Sequence[Mapping[str, Any]]) -> str:
    """The machine's limits as the runs measured them, lowest to highest."""
    found = [report["limits"] for report in reports if report.get("limits")]
    if not found:
        return ""
    spans = []
    for name, what in (("bf16_gflops", "GFLOP/s bf16"), ("fp32_gflops", "GFLOP/s fp32"), ("bandwidth_gbs", "GB/s")):
        values = sorted(limits[name] for limits in found if name in limits)
        if values:
            low, high = f"{values[0]:.0f}", f"{values[-1]:.0f}"
            spans.append(f"{low if low == high else f'{low} to {high}'} {what}")
    return "Measured in the same runs: " + ", ".join(spans) + "." if spans else ""


def _named(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    by_arm = {line[0]: line for line in lines}
    return [[arm_name(arm), *by_arm[arm][1:]] for arm in in_order(list(by_arm))]


def _sorted(rows: Sequence[RowRecord]) -> list[RowRecord]:
    order = {arm: place for place, arm in enumerate(in_order([row.arm for row in rows]))}
    return sorted(rows, key=lambda row: (order[row.arm], row.frames))


def _peaks(row: RowRecord) -> list[float | None]:
    files = [row.peak_mib[name] for name in FILE_STAGES if name in row.peak_mib]
    return [max(files) if files else None, *(row.peak_mib.get(name) for name in MODEL_STAGES)]


def _mean_match(matches: Sequence[Mapping[str, Any]]) -> str:
    if any(match["gain"] is None for match in matches):
        return "-"
    accuracy, gain = (fmean(match[name] for match in matches) for name in ("arm_accuracy", "gain"))
    least = " " + LEAST if any(match["where"] == "slowest row" for match in matches) else ""
    return f"{or_dash(accuracy)} ({signed(gain)}){least}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"
