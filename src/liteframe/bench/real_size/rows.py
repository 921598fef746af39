"""Rows of the record: medians and raw samples of each stage, distance to the floor, shares, sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from liteframe.bench.floor import distance_to_floor
from liteframe.bench.latency_record import How, LatencyRow, StageTime
from liteframe.bench.records import MODEL_STAGES
from liteframe.system.timers import summary

BEFORE_ENCODING = ("host_to_device", "normalize")
"""Stages of a run as a whole, in front of those of the model."""


def measured(
    samples_ms: Sequence[float],
    flops: float | None = None,
    moved_bytes: float = 0.0,
    peak_mib: float | None = None,
    note: str = "",
) -> StageTime:
    """A stage that was timed; `with_floors` adds its floor.

    Args:
        samples_ms: raw times.
        flops: of the stage; None where they are not known, then it has no floor.
        moved_bytes: at least the weights, once.
        peak_mib: peak memory.
        note: in words.
    """
    raw = [round(float(value), 4) for value in samples_ms]
    spread = summary(raw)
    return StageTime(
        ms=spread["median"],
        computed=False,
        n=int(spread["n"]),
        p10=spread["p10"],
        p90=spread["p90"],
        flops=None if flops is None else int(flops),
        moved_bytes=moved_bytes,
        peak_mib=peak_mib,
        how=How.TIMED,
        note=note,
        samples=raw,
    )


def computed(ms: float, flops: float | None, how: How, note: str) -> StageTime:
    """A stage that was not timed; `note` says in words what its time comes from."""
    return StageTime(ms=ms, computed=True, flops=None if flops is None else int(flops), how=how, note=note)


def with_floors(row: LatencyRow, limits: Mapping[str, float]) -> LatencyRow:
    """The row, its timed stages of known work with their distance to the floor.

    Args:
        row: see `make_row`.
        limits: of `measure_limits`, the rate of bfloat16 and the bandwidth.
    """
    stages = {}
    for name, stage in row.stages.items():
        floor = None
        if stage.flops is not None and not stage.computed:
            rates = limits["bf16_gflops"], limits["bandwidth_gbs"]
            floor = distance_to_floor(stage.ms, stage.flops, rates[0], stage.moved_bytes, rates[1])
        stages[name] = replace(stage, floor=floor, times_floor=floor["times_floor"] if floor else None)
    return replace(row, stages=stages)


def make_row(
    suite: str,
    arm: str,
    frames: int | None,
    stages: Mapping[str, StageTime],
    batch: int = 1,
    image_size: int | None = None,
    tokens_encoder: int | None = None,
    tokens_llm: int | None = None,
    prompt_tokens: int | None = None,
    tokens_mean_over_layers: float | None = None,
    run_ms: Sequence[float] = (),
    status: str = "ok",
    note: str = "",
) -> LatencyRow:
    """One row; see `liteframe.bench.real_size.command` for its fields."""
    parts = {name: stages[name].ms for name in MODEL_STAGES if name in stages}
    model_ms = sum(parts.values()) if len(parts) == len(MODEL_STAGES) else None
    first = stages.get("first_token")
    before_ms = sum(stages[name].ms for name in BEFORE_ENCODING if name in stages)
    done_ms = model_ms if model_ms is not None else parts.get("encode", 0.0) + parts.get("project", 0.0)
    return LatencyRow(
        suite=suite,
        arm=arm,
        frames=frames,
        batch=batch,
        image_size=image_size,
        status=status,
        computed=any(stage.computed for stage in stages.values()),
        note=note,
        tokens_encoder=tokens_encoder,
        tokens_llm=tokens_llm,
        tokens_per_frame=tokens_llm / frames if frames and tokens_llm is not None else None,
        tokens_mean_over_layers=tokens_mean_over_layers,
        prompt_tokens=prompt_tokens,
        model_ms=model_ms,
        ttft_ms=before_ms + model_ms + first.ms if model_ms is not None and first else None,
        share={name: part / model_ms for name, part in parts.items()} if model_ms else None,
        frames_per_s=1e3 * batch * frames / done_ms if frames and done_ms else None,
        run_ms=summary(run_ms) if len(run_ms) else None,
        stages=dict(stages),
    )
