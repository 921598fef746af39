"""The results page's half about real shapes: tables from the record of `liteframe latency`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from liteframe.bench.frontier import shares
from liteframe.bench.latency_record import LatencyRecord, LatencyRow, StageTime
from liteframe.bench.page import markdown
from liteframe.bench.records import MODEL_STAGES
from liteframe.bench.tables import milliseconds

COMPUTED = "†"
COMPUTED_TEXT = f"{COMPUTED} computed from FLOPs and a rate that the same run measured, not timed."
_BASELINE = "teacher"


def shown(ms: float | None, computed: bool) -> str:
    """Milliseconds, marked where they were computed."""
    if ms is None:
        return "-"
    return _marked(f"{ms:,.0f}" if ms >= 1000 else milliseconds(ms), computed)


def headline_table(record: LatencyRecord, frames: Sequence[int], arms: Sequence[str]) -> str:
    """Model time by arm and frames, for the README; empty where the record has no such rows."""
    lines = []
    for arm in arms:
        found = {count: record.row("pipeline", arm, count) for count in frames}
        if any(found.values()):
            lines.append([record.label(arm), *(_model_ms(found[count]) for count in frames)])
    return markdown(["arm", *(f"{count} frames" for count in frames)], lines) if lines else ""


def encoder_table(record: LatencyRecord, accuracy: Mapping[str, float]) -> str:
    """Encoders: size, work, tokens, milliseconds of encode + project by frames, accuracy of a named tiny relative.

    Args:
        record: of real shapes.
        accuracy: tiny arm -> accuracy at the frame count that the caller says.
    """
    rows = record.suite("encoder", batch=1)
    frames = sorted({row.frames for row in rows if row.frames})
    lines = []
    for arm in dict.fromkeys(row.arm for row in rows):
        about = record.arms.get(arm)
        cells = {row.frames: row for row in rows if row.arm == arm}
        relative = about.accuracy_relative if about else None
        lines.append(
            [
                record.label(arm),
                *(_figure(getattr(about, name, None)) for name in ("image_size", "parameters_m", "gflops_per_frame")),
                _figure(getattr(about, "tokens_encoder_per_frame", None)),
                _figure(getattr(about, "tokens_per_frame", None)),
                *(_encoder_ms(cells.get(count)) for count in frames),
                f"{accuracy[relative]:.3f} ({relative})" if relative and relative in accuracy else "",
                about.note if about else "",
            ]
        )
    head = ["encoder", "px", "M parameters", "GFLOP a frame", "tokens a frame: encoder", "LLM"]
    return _table([*head, *(f"{count} frames, ms" for count in frames), "accuracy of a tiny relative", "note"], lines)


def mixer_table(record: LatencyRecord) -> str:
    """The paper's Table 2: temporal mixers by time and work of one clip."""
    rows = [row for row in record.suite("mixer", batch=1) if row.stages.get("encode")]
    least = min((row.stages["encode"].ms for row in rows), default=0.0)
    lines = [
        [
            record.label(row.arm),
            row.frames or "-",
            _time(row.stages["encode"]),
            f"{row.stages['encode'].ms / least:.2f}x",
            _giga(row.stages["encode"].flops),
            _times(row.stages["encode"]),
        ]
        for row in rows
    ]
    return _table(["mixer", "frames", "encode ms", "over the fastest", "GFLOP", "over the floor"], lines)


def prefill_table(record: LatencyRecord) -> str:
    """The LLM alone, by prompt tokens."""
    lines = [
        [
            row.prompt_tokens or row.tokens_llm or "-",
            _time(row.stages.get("prefill")),
            _spread(row.stages.get("prefill")),
            _how(row),
            _times(row.stages.get("prefill")),
            *(_time(row.stages.get(name)) for name in ("first_token", "decode")),
        ]
        for row in record.suite("prefill", batch=1)
    ]
    head = ["prompt tokens", "prefill ms", "p10 to p90", "how", "over the floor", "first token ms", "decode ms a token"]
    return _table(head, lines)


def pipeline_table(record: LatencyRecord) -> str:
    """Every arm and frame count by stage, with tokens at three points."""
    lines = [
        [
            record.label(row.arm),
            row.frames or "-",
            *(_figure(value) for value in (row.tokens_encoder, row.tokens_llm, row.tokens_per_frame)),
            *(_time(row.stages.get(name)) for name in MODEL_STAGES),
            _model_ms(row),
            _time(row.stages.get("first_token")),
            shown(row.ttft_ms, row.computed),
            _how(row),
        ]
        for row in record.suite("pipeline", batch=1)
    ]
    head = [
        "arm",
        "frames",
        "tokens: encoder",
        "LLM",
        "per frame",
        *MODEL_STAGES,
        "model",
        "first token",
        "TTFT",
        "how",
    ]
    return _table(head, lines)


def speed_up_table(record: LatencyRecord) -> str:
    """Teacher over arm at equal frames, beside each stage's share of the teacher's time and Amdahl's ceiling."""
    lines = []
    for row in record.suite("pipeline", batch=1):
        baseline = record.row("pipeline", _BASELINE, row.frames or 0)
        if row.arm == _BASELINE or baseline is None or not row.model_ms or not baseline.model_ms:
            continue
        share = shares({name: baseline.stages[name].ms for name in MODEL_STAGES})
        cells = []
        for name in ("encode", "prefill"):
            ceiling = share[name]["ceiling"]
            ratio = baseline.stages[name].ms / row.stages[name].ms if row.stages[name].ms else None
            text = "-" if ratio is None else f"{ratio:.2f}x"
            cells.append(f"{text} ({share[name]['share']:.0%}, {'-' if ceiling is None else f'{ceiling:.2f}x'})")
        computed = row.computed or baseline.computed
        lines.append(
            [record.label(row.arm), row.frames, *cells, _marked(f"{baseline.model_ms / row.model_ms:.2f}x", computed)]
        )
    return _table(["arm", "frames", "encode", "prefill", "model"], lines)


def floor_table(record: LatencyRecord) -> str:
    """Timed stages against the least that the machine allows."""
    lines = []
    for row in record.rows:
        for name, stage in row.stages.items():
            if stage.floor and not stage.computed and row.suite in ("encoder", "pipeline") and row.batch == 1:
                cells = [milliseconds(stage.ms), milliseconds(stage.floor["floor_ms"]), stage.floor["bound"]]
                lines.append([record.label(row.arm), row.suite, row.frames or "-", name, *cells, _times(stage)])
    return _table(["arm", "suite", "frames", "stage", "ms", "floor ms", "bound by", "over the floor"], lines)


def memory_table(record: LatencyRecord) -> str:
    """Peak memory of timed stages, MiB."""
    lines = []
    for row in record.rows:
        peaks = {name: stage.peak_mib for name, stage in row.stages.items() if stage.peak_mib is not None}
        if peaks and row.suite in ("encoder", "prefill", "pipeline") and row.batch == 1:
            cells = [f"{peaks[name]:,.0f}" if name in peaks else "-" for name in MODEL_STAGES]
            lines.append([record.label(row.arm), row.suite, row.frames or "-", row.prompt_tokens or "-", *cells])
    return _table(["arm", "suite", "frames", "prompt tokens", *MODEL_STAGES], lines)


def throughput_table(record: LatencyRecord) -> str:
    """Frames a second by batch: one video at a time (batch 1) beside several."""
    lines = []
    for row in record.suite("throughput"):
        alone = record.row("pipeline", row.arm, row.frames or 0)
        per_s = [_per_s(alone), _per_s(row)]
        lines.append([record.label(row.arm), row.frames or "-", row.batch, _model_ms(row), *per_s, _how(row)])
    return _table(["arm", "frames", "batch", "model ms", "frames/s at batch 1", "frames/s", "how"], lines)


def left_out_list(record: LatencyRecord) -> str:
    """What was not run, and why; and that the record is not whole, if so."""
    lines = [] if record.complete else ["- The run was not finished: the record is partial."]
    for cell in record.dropped:
        parts = [str(cell.get("suite", "")), record.label(str(cell.get("arm", "")))]
        parts += [f"{cell['frames']} frames"] if cell.get("frames") else []
        parts += [f"batch {cell['batch']}"] if cell.get("batch") not in (None, 1) else []
        lines.append(f"- {', '.join(part for part in parts if part)}: {cell.get('reason', 'no reason recorded')}")
    return "\n".join(lines)


def _table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table without the columns that are empty throughout; empty without lines."""
    if not lines:
        return ""
    keep = [0, *(i for i in range(1, len(header)) if any(str(line[i]) not in ("-", "") for line in lines))]
    return markdown([header[i] for i in keep], [[line[i] for i in keep] for line in lines])


def _marked(text: str, computed: bool) -> str:
    return f"{text} {COMPUTED}" if computed else text


def _time(stage: StageTime | None) -> str:
    return "-" if stage is None else shown(stage.ms, stage.computed)


def _model_ms(row: LatencyRow | None) -> str:
    if row is None:
        return "-"
    return row.status if row.status != "ok" else shown(row.model_ms, row.computed)


def _encoder_ms(row: LatencyRow | None) -> str:
    if row is None:
        return "-"
    return row.status if row.status != "ok" else shown(row.encoder_ms, row.computed)


def _how(row: LatencyRow) -> str:
    if row.status != "ok":
        return row.status
    runs = [stage.n for stage in row.stages.values() if not stage.computed]
    if not runs:
        return "computed"
    return f"{'partly computed, ' if row.computed else ''}{min(runs)} runs"


def _times(stage: StageTime | None) -> str:
    times = stage.floor.get("times_floor") if stage and stage.floor and not stage.computed else None
    return "-" if times is None else f"{times:.2f}x"


def _spread(stage: StageTime | None) -> str:
    if stage is None or stage.p10 is None or stage.p90 is None:
        return "-"
    return f"{milliseconds(stage.p10)} to {milliseconds(stage.p90)}"


def _per_s(row: LatencyRow | None) -> str:
    return "-" if row is None or row.frames_per_s is None else f"{row.frames_per_s:,.1f}"


def _giga(flops: float | None) -> str:
    return "-" if flops is None else f"{flops / 1e9:,.1f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
