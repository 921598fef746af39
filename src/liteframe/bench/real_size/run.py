"""A run of every cell of a device, and its record.

The record is JSON of kind "latency", a `LatencyRecord`; there is no decoding and no resizing here. A `Frame` line is
taken to add 8 tokens of text, the question 64. Causal attention counts half in the ``flops`` of a measured prefill,
as its kernel may leave the rest out. Encoders take as long a frame as in the longest cell that was run. A prefill
that was not run at a length takes its operations over the rate measured at neighbouring lengths; a longer one than
all takes a rate for the layers and one for attention, fitted to all lengths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from liteframe.bench.environment import environment
from liteframe.bench.floor import measure_limits
from liteframe.bench.memory import reset_peak
from liteframe.bench.own_dtype import FASTER
from liteframe.bench.real_size.cells import Budget, rule_for
from liteframe.bench.real_size.execution import FLASH_FIRST
from liteframe.bench.real_size.record import CONTEXT_TOKENS, RunningRecord
from liteframe.bench.real_size.shapes import ATTENTION, Shapes, shapes
from liteframe.bench.real_size.steps import steps_for
from liteframe.bench.real_size.subjects import LINE_TOKENS, QUESTION_TOKENS
from liteframe.bench.real_size.suite import Suite, methods_to_make
from liteframe.bench.real_size.table import latency_text
from liteframe.bench.timers import measure
from liteframe.models.acceleration.attention_kernel import preferring, rank_kernels

BASE_VLMS = {"cpu": "internvl3-1b", "cuda": "internvl3-8b"}
DECODE_TOKENS = {"cpu": 1, "cuda": 9}


def run_latency(
    device: str,
    size: str,
    out: Path,
    budget_s: float,
    seed: int = 0,
    steps_of: str | None = None,
    dtype: str = "bfloat16",
    own_dtypes: bool = False,
) -> Path:
    """Run every cell of a device and print the tables.

    Args:
        device: where.
        size: see `shapes`.
        out: file of the record.
        budget_s: seconds.
        seed: of weights and frames.
        steps_of: kind of device whose cells are run; that of `device` by default.
        dtype: of all weights, "bfloat16" or "float32".
        own_dtypes: see `Suite`; ``dtype`` is then the LLM's alone.

    Returns:
        The file.
    """
    budget, where = Budget(budget_s), torch.device(device)
    kind = steps_of or where.type
    torch.manual_seed(seed)
    sizes = shapes(size, BASE_VLMS[kind])
    found = environment(device, f"LLM in {dtype}, encoders in {FASTER}" if own_dtypes else dtype, ATTENTION)
    settings = {
        "device": where.type,
        "size": size,
        "host": sizes.base_vlm,
        "image_size": sizes.image_size,
        "dtype": dtype,
        "decode_tokens": DECODE_TOKENS[kind],
        "rule": rule_for(where).describe(),
        "memory": reset_peak(where),
        "budget_s": budget_s,
        "seed": seed,
        "attention_kernel": ATTENTION,
        "question_tokens": QUESTION_TOKENS,
        "line_tokens": LINE_TOKENS,
        "context_tokens": CONTEXT_TOKENS,
    }
    record = RunningRecord(found, settings, measure_limits(where), path=out)
    steps = steps_for(kind, size == "tiny")
    if where.type == "cuda":
        settings["attention_preferred"] = FLASH_FIRST
        settings["attention_kernels_ms"] = attention_times(sizes, where, getattr(torch, dtype))
    with preferring(FLASH_FIRST if where.type == "cuda" else []):
        suite = Suite(sizes, where, budget, record, DECODE_TOKENS[kind], getattr(torch, dtype), own_dtypes)
        suite.prepare(methods_to_make(steps))
        suite.run(steps)
    record.complete = True
    record.save(budget.spent)
    print(latency_text(record))
    return out


def attention_times(sizes: Shapes, device: torch.device, dtype: torch.dtype, frames: int = 8) -> dict[str, float]:
    """Milliseconds of the teacher's self-attention in so many frames by each kernel that can run it, fastest first."""
    vision: Any = sizes.vision
    tokens = (sizes.image_size // vision.patch_size[0]) ** 2 + 1
    heads = vision.num_attention_heads
    query_BHNC = torch.randn(frames, heads, tokens, vision.hidden_size // heads, device=device, dtype=dtype)
    with torch.inference_mode():
        return rank_kernels(
            query_BHNC, lambda attend: min(measure(attend, warmup=3, max_runs=20, max_seconds=0.2, device=device))
        )
