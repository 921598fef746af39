"""The results page's half about real shapes: tables from the record of `liteframe latency`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from liteframe.bench.arm_names import real_arm_name
from liteframe.bench.frontier import shares
from liteframe.bench.latency_cells import (
    encoder_ms,
    figure,
    giga,
    how,
    mark_of,
    marked,
    model_ms,
    over_floor,
    shown,
    spread,
    stage_marks,
    table_of,
    time_of,
    times,
)  # fmt: skip
from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.page import markdown
from liteframe.bench.records import MODEL_STAGES

_BASELINE = "teacher"
_BEFORE_ENCODING = ("host_to_device", "normalize")


def headline_table(record: LatencyRecord, frames: Sequence[int], arms: Sequence[str]) -> str:
    """Model time by arm and frames, for the README; empty where the record has no such rows."""
    lines = []
    for arm in arms:
        found = {count: record.row("pipeline", arm, count) for count in frames}
        if any(found.values()):
            lines.append([real_arm_name(arm), *(model_ms(found[count]) for count in frames)])
    return markdown(["arm", *(f"{count} frames" for count in frames)], lines) if lines else ""


def encoder_table(record: LatencyRecord, accuracy: Mapping[str, float]) -> str:
    """Encoders: size, work, tokens, milliseconds of encode + project by frames, accuracy of a named tiny relative.

    Args:
        record: of real shapes.
        accuracy: tiny arm -> accuracy at the frame count that the caller says.
    """
    cells = _encoder_cells(record)
    frames = _shared_frames(cells)
    lines = []
    for arm, found in cells.items():
        about = record.arms.get(arm)
        relative = about.accuracy_relative if about else None
        lines.append(
            [
                real_arm_name(arm),
                *(figure(getattr(about, name, None)) for name in ("image_size", "parameters_m", "gflops_per_frame")),
                figure(getattr(about, "tokens_encoder_per_frame", None)),
                figure(getattr(about, "tokens_per_frame", None)),
                *(encoder_ms(found.get(count)) for count in frames),
                f"{accuracy[relative]:.3f} ({relative})" if relative and relative in accuracy else "",
            ]
        )
    head = ["encoder", "px", "M parameters", "GFLOP a frame", "tokens a frame: encoder", "LLM"]
    return table_of([*head, *(f"{count} frames, ms" for count in frames), "accuracy of a tiny relative"], lines)


def encoder_list(record: LatencyRecord) -> str:
    """What each encoder of the table of encoders is, with what is odd about it."""
    return _arm_list(record, (row.arm for row in record.suite("encoder")))


def other_arm_list(record: LatencyRecord) -> str:
    """What the other arms are, of those that the list of encoders lacks: what reduces the teacher's tokens."""
    told = {row.arm for row in record.suite("encoder")}
    return _arm_list(record, (row.arm for row in _pipelines(record, main=False) if row.arm not in told))


def _arm_list(record: LatencyRecord, arms: Iterable[str]) -> str:
    lines = []
    for arm in dict.fromkeys(arms):
        about = record.arms.get(arm)
        if about is not None:
            lines.append(f"- {real_arm_name(arm)}: {about.label}{'; ' + about.note if about.note else ''}")
    return "\n".join(lines)


def long_video_table(record: LatencyRecord) -> str:
    """Encode + project at frame counts that only a few encoders were run at."""
    cells = _encoder_cells(record)
    shared = _shared_frames(cells)
    frames = sorted({count for found in cells.values() for count in found if count not in shared})
    lines = [
        [real_arm_name(arm), *(encoder_ms(found.get(count)) for count in frames)]
        for arm, found in cells.items()
        if any(count in found for count in frames)
    ]
    return table_of(["encoder", *(f"{count} frames, ms" for count in frames)], lines)


def _encoder_cells(record: LatencyRecord) -> dict[str, dict[int, LatencyRow]]:
    cells: dict[str, dict[int, LatencyRow]] = {}
    for row in record.suite("encoder", batch=1):
        if row.frames:
            cells.setdefault(row.arm, {})[row.frames] = row
    return cells


def _shared_frames(cells: Mapping[str, Mapping[int, LatencyRow]]) -> list[int]:
    """Frame counts that at least three arms, or all of fewer, were run at."""
    counts = [count for found in cells.values() for count in found]
    return sorted(count for count in set(counts) if counts.count(count) >= min(3, len(cells)))


def mixer_table(record: LatencyRecord) -> str:
    """The paper's Table 2: temporal mixers by time and work of one clip."""
    rows = [row for row in record.suite("mixer", batch=1) if row.stages.get("encode")]
    least = {row.frames: min(other.stages["encode"].ms for other in rows if other.frames == row.frames) for row in rows}
    lines = [
        [
            real_arm_name(row.arm),
            row.frames or "-",
            time_of(row.stages["encode"]),
            f"{row.stages['encode'].ms / least[row.frames]:.2f}x",
            giga(row.stages["encode"].flops),
            over_floor(row.stages["encode"]),
        ]
        for row in rows
    ]
    return table_of(["mixer", "frames", "encode ms", "over the fastest", "GFLOP", "over the floor"], lines)


def prefill_table(record: LatencyRecord) -> str:
    """The LLM alone, by prompt tokens."""
    lines = [
        [
            row.prompt_tokens or row.tokens_llm or "-",
            time_of(row.stages.get("prefill")),
            spread(row.stages.get("prefill")),
            how(row),
            over_floor(row.stages.get("prefill")),
            *(time_of(row.stages.get(name)) for name in ("first_token", "decode")),
        ]
        for row in record.suite("prefill", batch=1)
    ]
    head = ["prompt tokens", "prefill ms", "p10 to p90", "how", "over the floor", "first token ms", "decode ms a token"]
    return table_of(head, lines)


def pipeline_table(record: LatencyRecord, main: bool = True) -> str:
    """Arms and frame counts by stage, with tokens at three points; of the main arms, or of all others.

    Time to first token begins with the first stage that the table has; only rows that were run as a whole have one.
    """
    rows = _pipelines(record, main)
    before = [name for name in _BEFORE_ENCODING if any(name in row.stages for row in rows)]
    lines = [
        [
            real_arm_name(row.arm),
            row.frames or "-",
            *(figure(value) for value in (row.tokens_encoder, row.tokens_llm, row.tokens_per_frame)),
            figure(row.tokens_mean_over_layers),
            *(time_of(row.stages.get(name)) for name in (*before, *MODEL_STAGES)),
            model_ms(row),
            time_of(row.stages.get("first_token")),
            shown(row.ttft_ms, mark_of(row)),
            how(row),
        ]
        for row in rows
    ]
    head = [
        "arm",
        "frames",
        "tokens: encoder",
        "LLM",
        "per frame",
        "mean over the LLM's layers",
        *(name.replace("_", " ") for name in before),
        *MODEL_STAGES,
        "model",
        "first token",
        f"TTFT, from {before[0] if before else MODEL_STAGES[0]} on".replace("_", " "),
        "how",
    ]
    return table_of(head, lines)


def speed_up_table(record: LatencyRecord, main: bool = True) -> str:
    """Teacher over arm at equal frames, beside each stage's share of the teacher's time and Amdahl's ceiling."""
    lines = []
    for row in _pipelines(record, main):
        baseline = record.row("pipeline", _BASELINE, row.frames or 0)
        if row.arm == _BASELINE or baseline is None or not row.model_ms or not baseline.model_ms:
            continue
        share = shares({name: baseline.stages[name].ms for name in MODEL_STAGES})
        cells = []
        for name in ("encode", "prefill"):
            ceiling = share[name]["ceiling"]
            ratio = baseline.stages[name].ms / row.stages[name].ms if row.stages[name].ms else None
            marks = stage_marks(baseline.stages[name], row.stages[name])
            text = "-" if ratio is None else marked(times(ratio), marks)
            cells.append(f"{text} ({share[name]['share']:.0%}, {'-' if ceiling is None else f'{ceiling:.2f}x'})")
        whole = marked(times(baseline.model_ms / row.model_ms), mark_of(row, baseline))
        lines.append([real_arm_name(row.arm), row.frames, *cells, whole])
    return table_of(["arm", "frames", "encode", "prefill", "model"], lines)


def _pipelines(record: LatencyRecord, main: bool) -> list[LatencyRow]:
    arms = {name for name, arm in record.arms.items() if arm.group == "main"}
    return [row for row in record.suite("pipeline", batch=1) if (row.arm in arms) == main]
