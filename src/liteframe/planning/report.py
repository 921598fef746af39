"""A plan as tables for the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from liteframe.planning.memory import GIB
from liteframe.planning.plan import Plan
from liteframe.system.tables import aligned


def as_text(plan: Plan, gpu_gib: float) -> str:
    """Parameters, tokens, operations, memory, store and time, no wider than a terminal.

    Args:
        gpu_gib: memory of a GPU, to say whether the plan fits.
    """
    stage, machine = plan.stage, plan.machine
    sharing = ", weights shared out" if machine.sharded else ""
    where = f"{machine.gpus} {'GPU' if machine.gpus == 1 else 'GPUs'}{sharing}"
    blocks = [f"{stage.stage} of {', '.join(stage.models)} on {where}", _parameters(plan), _tokens(plan), _flops(plan)]
    blocks.append(_memory(plan, gpu_gib))
    if plan.store is not None:
        blocks.append(f"feature store           {plan.store.gigabytes:,.1f} GB for {plan.store.samples:,} samples")
    time = plan.time
    blocks.append(
        f"time                    {time.gpu_hours:,.1f} GPU-hours, {time.hours:,.1f} hours on the clock,"
        f" for {time.videos:,.0f} videos ({_short(time.flops)}FLOP)\n"
        f"                        if the videos give {time.frames_per_s:,.0f} frames a second"
    )
    if plan.notes:
        blocks.append("\n".join(f"note: {note}" for note in plan.notes))
    return "\n\n".join(blocks)


def as_json(plan: Plan) -> dict[str, Any]:
    """All of the plan, with its sums; bytes and operations as numbers."""
    record = asdict(plan)
    record["memory"]["total"] = plan.memory.total
    parts = plan.stage.parts
    record["parameters"] = {"all": sum(p.parameters for p in parts), "trained": sum(p.trained for p in parts)}
    for batch in record["stage"]["batches"]:
        batch["flops"]["sum"] = sum(batch["flops"].values())
    return record


def _parameters(plan: Plan) -> str:
    parts = plan.stage.parts
    rows = [[part.name, f"{part.parameters:,}", f"{part.trained:,}"] for part in parts]
    rows.append(["sum", f"{sum(p.parameters for p in parts):,}", f"{sum(p.trained for p in parts):,}"])
    return aligned(["parameters", "all", "trained"], _indented(rows))


def _tokens(plan: Plan) -> str:
    batches, clip = plan.stage.batches, plan.stage.clip_tokens
    rows = [
        [point, f"{clip[point]:,}" if point in clip else "-", *(f"{batch.tokens[point]:,}" for batch in batches)]
        for point in batches[0].tokens
    ]
    return aligned(["tokens", "a clip", *_of_videos(plan)], _indented(rows))


def _flops(plan: Plan) -> str:
    batches = plan.stage.batches
    rows = [[name, *(_tera(batch.flops[name]) for batch in batches)] for name in batches[0].flops]
    if len(rows) > 1:
        rows.append(["sum", *(_tera(sum(batch.flops.values())) for batch in batches)])
    return aligned(["TFLOP a video", *_of_videos(plan)], _indented(rows))


def _memory(plan: Plan, gpu_gib: float) -> str:
    held, total = plan.memory, plan.memory.total / GIB
    rows = [
        ["weights", _gib(held.weights)],
        ["gradients", _gib(held.gradients)],
        ["optimizer", _gib(held.optimizer)],
        ["bfloat16 copies", _gib(held.casts)],
        ["activations, roughly", _gib(held.activations)],
        ["frames of a batch", _gib(held.inputs)],
        ["sum", _gib(held.total)],
    ]
    table = aligned(["GiB a GPU (estimate)", ""], _indented([row for row in rows if row[1] != _gib(0)]))
    if total <= gpu_gib:
        return f"{table}\n  fits into {gpu_gib:g} GiB"
    advice = "smaller batches (data.shapes, data.batch_size), gradient checkpointing"
    if (held.total - held.activations - held.inputs) / GIB > gpu_gib / 2 and not plan.machine.sharded:
        advice += ",\n  or weights shared out (--config trainer/fsdp.yaml)"
    return f"{table}\n  does not fit into {gpu_gib:g} GiB: take {advice}"


def _of_videos(plan: Plan) -> list[str]:
    return [f"{batch.frames} frames x {batch.batch_size}" for batch in plan.stage.batches]


def _indented(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[f"  {row[0]}", *row[1:]] for row in rows]


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.3g}" if flops < 1e15 else f"{flops / 1e12:,.0f}"


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f}"


def _short(number: float) -> str:
    """Three figures and a prefix: 1.23 E."""
    for prefix, unit in (("Z", 1e21), ("E", 1e18), ("P", 1e15)):
        if number >= unit:
            return f"{number / unit:,.3g} {prefix}"
    return f"{number / 1e12:,.3g} T"
