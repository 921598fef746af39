"""The page of a report: Markdown tables, each made from the report's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from liteframe.bench.records import STAGES, RowRecord
from liteframe.bench.tables import FIELD_NAMES, grid, milliseconds, or_dash, question_count, signed


def page(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> str:
    """The whole of ``report.md``."""
    sections = [
        "# Latency and accuracy",
        "![accuracy against milliseconds a video](pareto.png)",
        _environment_line(report["environment"]),
        _section(
            f"Accuracy by frames a video ({question_count(rows)} questions, {rows[0].videos} videos; "
            "95 % interval by bootstrap over videos)",
            _markdown_grid(rows, lambda r: f"{r.accuracy:.3f} ({r.accuracy_low:.3f} to {r.accuracy_high:.3f})"),
        ),
        _section("At equal latency", _matched(report), _MATCHED_TEXT),
        _section("At equal accuracy", _equal_accuracy(report), "The least time at which the arm is as accurate."),
        _section("Latency of a video by stage, milliseconds, median", _latency(rows), _LATENCY_TEXT),
        _section("Speed-up at equal frames, teacher over arm", _speed_ups(report)),
        _section("Where the time goes", _shares(report), _SHARES_TEXT),
        _section("Distance to the machine's limit", _floors(report, rows), _limits_text(report)),
        _section("Peak memory by stage, MiB", _memory(rows)),
        _section("Accuracy by question type", _types(rows)),
        _section("Seconds of the pipeline's stages", _stages(report)),
        _section("Notes", "\n".join(f"- {note}" for note in report.get("notes", ()))),
        _section("Settings", _settings(report.get("settings", {}))),
        _section("Environment", _settings(report["environment"])),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_MATCHED_TEXT = (
    "Accuracy at the milliseconds of a row of the baseline, linear in log latency between the arm's frame counts. "
    "*slowest row*: the latency is beyond the arm's last row, whose accuracy stands. Model time is encode + project + "
    "prefill; end to end adds decode and preprocess."
)
_LATENCY_TEXT = (
    "Batch 1. model = encode + project + prefill; total = model + decode + preprocess. "
    "p10, p90 and n are of the model time."
)
_SHARES_TEXT = (
    "Share of each stage in the end-to-end time, and in brackets the speed-up if that stage took no time "
    "(Amdahl's ceiling)."
)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(str(cell) for cell in cells) + " |" for cells in (header, rule, *rows)]
    return "\n".join(lines)


def _section(title: str, table: str, text: str = "") -> str:
    return "\n\n".join(part for part in (f"## {title}", text, table) if part) if table else ""


def _markdown_grid(rows: Sequence[RowRecord], cell: Callable[[RowRecord], str]) -> str:
    return markdown(*grid(rows, cell))


def _between(frames: Sequence[int] | None) -> str:
    if frames is None:
        return "-"
    return str(frames[0]) if frames[0] == frames[1] else f"{frames[0]} to {frames[1]}"


def _matched(report: Mapping[str, Any]) -> str:
    lines = [
        [
            match["arm"],
            FIELD_NAMES.get(match["field"], match["field"]),
            match["baseline_frames"],
            milliseconds(match["ms"]),
            f"{match['baseline_accuracy']:.3f}",
            or_dash(match["arm_accuracy"]),
            signed(match["gain"]),
            _between(match["arm_frames"]),
            match["where"],
        ]
        for match in report.get("matched_latency", ())
    ]
    header = ["arm", "by", "teacher's frames", "ms", "teacher", "arm", "gain", "arm's frames", "found"]
    return markdown(header, lines) if lines else ""


def _equal_accuracy(report: Mapping[str, Any]) -> str:
    lines = [
        [
            arm,
            FIELD_NAMES.get(entry["field"], entry["field"]),
            entry["baseline_frames"],
            f"{entry['accuracy']:.3f}",
            milliseconds(entry["baseline_ms"]),
            "never" if entry["arm_ms"] is None else milliseconds(entry["arm_ms"]),
            _between(entry["arm_frames"]),
            "-" if entry["speed_up"] is None else f"{entry['speed_up']:.2f}x",
        ]
        for arm, entries in report.get("at_equal_accuracy", {}).items()
        for entry in entries
    ]
    header = ["arm", "by", "teacher's frames", "accuracy", "teacher ms", "arm ms", "arm's frames", "speed-up"]
    return markdown(header, lines) if lines else ""


def _latency(rows: Sequence[RowRecord]) -> str:
    extra = list(dict.fromkeys(name for row in rows for name in row.extra_ms))
    header = ["arm", "frames", "tokens: encoder", "LLM", "per frame", *STAGES, *extra, "model", "total"]
    lines: list[list[object]] = []
    for row in rows:
        model = row.spread.get("model")
        lines.append(
            [
                row.arm,
                row.frames,
                row.tokens_encoder,
                row.tokens,
                f"{row.tokens_per_frame:g}",
                *(milliseconds(value) for value in row.stage_ms.values()),
                *(milliseconds(row.extra_ms[name]) if name in row.extra_ms else "-" for name in extra),
                milliseconds(row.model_ms),
                milliseconds(row.total_ms),
                f"{milliseconds(model['p10'])} to {milliseconds(model['p90'])}" if model else "-",
                int(model["n"]) if model else "-",
            ]
        )
    return markdown([*header, "p10 to p90", "n"], lines)


def _speed_ups(report: Mapping[str, Any]) -> str:
    names = ("encode", "prefill", "model", "total")
    lines = [
        [arm, entry["frames"], *(f"{entry[name]:.2f}x" if name in entry else "-" for name in names)]
        for arm, entries in report.get("speed_ups", {}).items()
        for entry in entries
    ]
    return markdown(["arm", "frames", *names[:-1], "end to end"], lines) if lines else ""


def _shares(report: Mapping[str, Any]) -> str:
    lines = []
    for arm, entries in report.get("shares", {}).items():
        for entry in entries:
            whole = entry["end_to_end"]
            cells = [f"{_percent(whole[name]['share'])} ({_times(whole[name]['ceiling'])})" for name in STAGES]
            lines.append([arm, entry["frames"], *cells])
    return markdown(["arm", "frames", *STAGES], lines) if lines else ""


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _floors(report: Mapping[str, Any], rows: Sequence[RowRecord]) -> str:
    lines = [
        [
            row.arm,
            row.frames,
            name,
            milliseconds(row.spread[name]["median"]) if name in row.spread else "-",
            f"{floor['floor_ms']:.3f}",
            floor["bound"],
            _times(floor["times_floor"]),
        ]
        for row in rows
        for name, floor in row.floor.items()
    ]
    return markdown(["arm", "frames", "stage", "ms", "floor ms", "bound by", "over the floor"], lines) if lines else ""


def _limits_text(report: Mapping[str, Any]) -> str:
    limits = report.get("limits") or {}
    if not limits:
        return ""
    return (
        f"Measured in the same run: matrix products {limits['bf16_gflops']:.0f} GFLOP/s in bf16 and "
        f"{limits['fp32_gflops']:.0f} in fp32, copies {limits['bandwidth_gbs']:.1f} GB/s. The floor is the greater of "
        "FLOPs over the rate and bytes over the bandwidth; it is computed, not timed."
    )


def _memory(rows: Sequence[RowRecord]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.peak_mib))
    lines = [
        [row.arm, row.frames, *(f"{row.peak_mib[name]:.0f}" if name in row.peak_mib else "-" for name in names)]
        for row in rows
        if row.peak_mib
    ]
    return markdown(["arm", "frames", *names], lines) if lines else ""


def _types(rows: Sequence[RowRecord]) -> str:
    names = sorted({name for row in rows for name in row.per_type})
    lines = [
        [row.arm, row.frames, *(f"{row.per_type[name]:.3f}" if name in row.per_type else "-" for name in names)]
        for row in rows
    ]
    return markdown(["arm", "frames", *names], lines) if names else ""


def _stages(report: Mapping[str, Any]) -> str:
    stages = report.get("stages", ())
    if not stages:
        return ""
    more = [name for name in dict.fromkeys(key for s in stages for key in s) if name not in ("name", "seconds")]
    more = [name for name in more if all(isinstance(s.get(name), str | int | float | None) for s in stages)]
    lines = [
        [stage["name"], f"{stage['seconds']:.1f}", *("-" if stage.get(n) is None else stage[n] for n in more)]
        for stage in stages
    ]
    lines.append(["all", f"{sum(stage['seconds'] for stage in stages):.1f}", *("" for _ in more)])
    return markdown(["stage", "seconds", *more], lines)


def _environment_line(environment: Mapping[str, Any]) -> str:
    commit = environment.get("commit")
    parts = [
        str(environment.get("device", "device not recorded")),
        f"{environment.get('threads')} threads" if environment.get("threads") else "",
        str(environment.get("dtype") or ""),
        f"attention {environment['attention_kernel']}" if environment.get("attention_kernel") else "",
        f"commit {commit[:12]}{' with changes' if environment.get('dirty') else ''}" if commit else "no commit known",
    ]
    return "Measured on: " + ", ".join(part for part in parts if part) + "."


def _settings(settings: Mapping[str, Any]) -> str:
    lines = [
        f"- {name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else value}"
        for name, value in settings.items()
    ]
    return "\n".join(lines)
