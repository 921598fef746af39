"""The half of RESULTS.md about real shapes: tables from the records of `liteframe latency`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from liteframe.bench.latency_record import How, LatencyRecord, LatencyRow, StageTime
from liteframe.bench.memory import CUDA_MEMORY
from liteframe.bench.methods import label

from .wording import milliseconds

MARKS = {
    "†": "prefill computed: its operations over the rate that this run measured at neighbouring lengths.",
    "‡": "encode and project scaled by the frame, from the longest video below that was timed.",
    "§": "prefill of a prompt longer than any that was timed: extrapolated.",
    "◊": "computed; the record does not say how.",
    "¶": "the sum of stages that were timed apart from each other.",
}
_MARK_OF = {How.AT_RATE: "†", How.BY_THE_FRAME: "‡", How.EXTRAPOLATED: "§", How.UNTOLD: "◊"}


def legend(*tables: pd.DataFrame) -> str:
    """What the marks in tables mean, of those that are in them."""
    text = " ".join(table.to_string() for table in tables)
    said = [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in text]
    sums = "Sums and ratios bear the marks of all that they are made from."
    return " ".join([*said, sums] if any(mark in text for mark in "†‡§") else said)


def stage_marks(*stages: StageTime) -> str:
    """The marks that what is made from these stages bears, each once; empty if all were timed."""
    found = {_MARK_OF[stage.how] for stage in stages if stage.computed}
    return "".join(mark for mark in MARKS if mark in found)


def mark_of(*rows: LatencyRow) -> str:
    """The marks that what is made from these rows bears."""
    marks = stage_marks(*(stage for row in rows for stage in row.stages.values()))
    return marks or ("¶" if any(row.computed for row in rows) else "")


def marked(text: str, marks: str) -> str:
    """A text with marks behind it, if there are any."""
    return f"{text} {marks}" if marks else text


def sum_of(row: LatencyRow | None, ms: float | None) -> str:
    """A sum over a row's stages, or why there is none."""
    if row is None or (row.status == "ok" and ms is None):
        return "-"
    return row.status if ms is None or row.status != "ok" else marked(milliseconds(ms), mark_of(row))


def model_ms(row: LatencyRow | None) -> str:
    """A row's model time, or why there is none."""
    return sum_of(row, row.model_ms if row else None)


def encoder_ms(row: LatencyRow | None) -> str:
    """A row's encode + project, or why there is none."""
    return sum_of(row, row.encoder_ms if row else None)


def figure(value: float | None) -> str:
    """Four figures, more of a large number."""
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def times(ratio: float) -> str:
    """A ratio with two decimals, or two figures of a small one."""
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def headline(record: LatencyRecord, frames: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
    """Model time by method and frames; empty where the record has no such rows."""
    found = {name: [record.row("pipeline", name, count) for count in frames] for name in names}
    rows = [[label(name), *map(model_ms, rows)] for name, rows in found.items() if any(rows)]
    return pd.DataFrame(rows, columns=["method", *(f"{count} frames" for count in frames)])


def speed_ups(record: LatencyRecord, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Teacher over method at equal frames, beside each stage's share of the teacher's time and Amdahl's ceiling."""
    rows = []
    for row in record.suite("pipeline", batch=1):
        teacher = record.row("pipeline", "teacher", row.frames or 0)
        chosen = row.arm != "teacher" and (names is None or row.arm in names)
        if not chosen or teacher is None or not row.model_ms or not teacher.model_ms:
            continue
        cells = {}
        for name in ("encode", "prefill"):
            own, other = row.stages[name], teacher.stages[name]
            share = other.ms / teacher.model_ms
            text = marked(times(other.ms / own.ms), stage_marks(other, own)) if own.ms else "-"
            cells[name] = f"{text} ({share:.0%}, {1 / (1 - share):.2f}x)"
        whole = marked(times(teacher.model_ms / row.model_ms), mark_of(row, teacher))
        rows.append({"method": label(row.arm), "frames": row.frames, **cells, "model": whole})
    return pd.DataFrame(rows)


def encoders(record: LatencyRecord, accuracy: Mapping[str, float]) -> pd.DataFrame:
    """Encoders: size, work, tokens, milliseconds of encode + project by frames, accuracy of a tiny relative.

    Args:
        record: of real shapes.
        accuracy: method of the tiny world -> accuracy at the frame count that the page says.
    """
    timed = record.suite("encoder", batch=1)
    counts = sorted({row.frames for row in timed if row.frames})
    rows = []
    for name in dict.fromkeys(row.arm for row in timed):
        about = record.methods.get(name)
        relative = about.accuracy_relative if about else None
        size = {
            "px": "image_size", "M parameters": "parameters_m", "GFLOP a frame": "gflops_per_frame",
            "tokens a frame: encoder": "tokens_encoder_per_frame", "LLM": "tokens_per_frame",
        }  # fmt: skip
        rows.append(
            {
                "encoder": label(name),
                **{title: figure(getattr(about, field, None)) for title, field in size.items()},
                **{f"{count} frames, ms": encoder_ms(record.row("encoder", name, count)) for count in counts},
                "accuracy of a tiny relative": f"{accuracy[relative]:.3f} ({label(relative)})"
                if relative and relative in accuracy
                else "",
            }
        )
    return pd.DataFrame(rows)


def executions(record: LatencyRecord) -> pd.DataFrame:
    """Ways to run an encoder: encode by method and frames, beside the eager one, and its share of the matrix rate."""
    timed = [row for suite in ("execution", "float8") for row in record.suite(suite) if "encode" in row.stages]
    eager = {(row.arm, row.frames): row.stages["encode"].ms for row in timed if row.execution == "eager"}
    rows = []
    for row in timed:
        encode, plain_ms = row.stages["encode"], eager.get((row.arm, row.frames))
        share = encode.flops / record.limits["bf16_gflops"] / 1e6 / encode.ms if encode.flops else None
        rows.append(
            {
                "encoder": label(row.arm),
                "frames": row.frames,
                "run": row.execution,
                "encode, ms": milliseconds(encode.ms),
                "eager over it": times(plain_ms / encode.ms) if plain_ms and encode.ms else "-",
                "of the matrix rate": "-" if share is None else f"{share:.0%}",
            }
        )
    return pd.DataFrame(rows)


def first_tokens(record: LatencyRecord) -> pd.DataFrame:
    """Time to the first token with each encoder in its fastest way, and with frames fetched meanwhile."""
    rows = []
    for row in (row for suite in ("fastest", "streamed", "decoded") for row in record.suite(suite)):
        whole = row.stages.get("to_first_token")
        ms = row.ttft_ms if whole is None else whole.ms
        if ms is not None:
            run = ", ".join(filter(None, [row.execution, row.note]))
            name, time = label(row.arm), milliseconds(ms)
            rows.append({"method": name, "frames": row.frames, "run": run, "to the first token, ms": time})
    return pd.DataFrame(rows)


def descriptions(record: LatencyRecord) -> list[tuple[str, str]]:
    """Name of each method that was timed but mixers -> what it is, with what is odd about it."""
    timed = dict.fromkeys(row.arm for row in record.rows if row.suite in ("encoder", "pipeline"))
    known = [record.methods[name] for name in timed if name in record.methods]
    return [(label(about.name), about.label + (f"; {about.note}" if about.note else "")) for about in known]


def everything(record: LatencyRecord) -> pd.DataFrame:
    """Every stage of every row, with the row's tokens and sums, for the CSV; a row that failed has no stage.

    Memory is left out where it is the resident set of the process, which holds every model of the run.
    """
    of_row = (
        *("suite", "arm", "execution", "frames", "batch", "prompt_tokens", "status", "tokens_encoder", "tokens_llm"),
        *("tokens_mean_over_layers", "model_ms", "ttft_ms", "frames_per_s"),
    )
    of_stage = ["ms", "p10", "p90", "n", "times_floor"]
    if record.settings.get("memory") == CUDA_MEMORY:
        of_stage.append("peak_mib")
    rows = []
    for row in record.rows:
        whole = {name: getattr(row, name) for name in of_row}
        rows += [
            {**whole, "stage": name, **{field: getattr(stage, field) for field in of_stage}, "how": stage.how.value}
            | {f"floor_{key}": (stage.floor or {}).get(key) for key in ("floor_ms", "bound")}
            for name, stage in row.stages.items()
        ] or [whole]
    return pd.DataFrame(rows).rename(columns={"arm": "method", "floor_floor_ms": "floor_ms", "floor_bound": "bound_by"})


def floors_beaten(record: LatencyRecord) -> int:
    """How many timed stages took less than their floor, which only a bad measurement of the limits explains."""
    timed = [stage for row in record.rows for stage in row.stages.values() if stage.floor and not stage.computed]
    return sum((stage.floor or {}).get("times_floor", 1.0) < 1.0 for stage in timed)


def not_run(record: LatencyRecord) -> list[str]:
    """What was not run, and why; and that the record is not whole, if so."""
    lines = [] if record.complete else ["The run was not finished: the record is partial."]
    budget_s, together = record.settings.get("budget_s"), dict[tuple[str, str, str], list[str]]()
    for cell in record.dropped:
        suite, batch = cell.get("suite", ""), cell.get("batch") or 1
        reason = str(cell.get("reason", "no reason recorded"))
        if reason == "time budget" and budget_s:
            reason = f"{reason} of {budget_s:,.0f} s"
        about = f"{suite}{f' (batch {batch})' if batch > 1 else ''}, {label(str(cell.get('arm', '')))}"
        unit = "tokens" if suite == "prefill" else "frames"
        together.setdefault((about, unit, reason), []).extend([str(cell["frames"])] if cell.get("frames") else [])
    for (about, unit, reason), counts in together.items():
        lines.append(": ".join([", ".join([about, *([f"{' / '.join(counts)} {unit}"] if counts else [])]), reason]))
    return lines
