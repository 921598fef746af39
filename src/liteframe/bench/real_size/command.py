"""``liteframe latency``: the paper's real shapes with random weights, stage by stage, on this machine.

``python -m liteframe.bench.real_size`` does the same where only torch, transformers and timm are installed.

The record is JSON of kind "latency", a `LatencyRecord`; there is no decoding and no resizing here. A `Frame` line is
taken to add 8 tokens of text, the question 64. Causal attention counts half in the ``flops`` of a measured prefill,
as its kernel may leave the rest out. Encoders take as long a frame as in the longest cell that was run. A prefill
that was not run at a length takes its operations over the rate measured at neighbouring lengths; a longer one than
all takes a rate for the layers and one for attention, fitted to all lengths.
"""

from __future__ import annotations

from pathlib import Path

import torch

from liteframe.bench.environment import environment
from liteframe.bench.floor import measure_limits
from liteframe.bench.memory import reset_peak
from liteframe.bench.real_size.cells import Budget, rule_for
from liteframe.bench.real_size.record import CONTEXT_TOKENS, RunningRecord
from liteframe.bench.real_size.shapes import ATTENTION, shapes
from liteframe.bench.real_size.steps import steps_for
from liteframe.bench.real_size.subjects import LINE_TOKENS, QUESTION_TOKENS
from liteframe.bench.real_size.suite import DTYPE, Suite, methods_to_make
from liteframe.bench.real_size.table import latency_text
from liteframe.errors import ConfigError
from liteframe.system.own_record import require_own_record

BASE_VLMS = {"cpu": "internvl3-1b", "cuda": "internvl3-8b"}
BUDGETS_S = {"cpu": 1140.0, "cuda": 520.0}
DECODE_TOKENS = {"cpu": 1, "cuda": 9}


def latency_command(
    device: str = "cpu",
    size: str = "real",
    out: str | None = None,
    budget_s: float | None = None,
    seed: int = 0,
) -> int:
    """Measure latency at the paper's real shapes, with random weights.

    Args:
        device: cpu or cuda.
        size: real, or tiny for a try in seconds that says nothing about speed.
        out: file of the record; by default runs/latency-DEVICE.json.
        budget_s: seconds that the run may take, by default 1140 on a CPU and 520 on a GPU; cells that do not fit are
            left out, and listed in the record.
        seed: of the random weights and frames.
    """
    kind = device.partition(":")[0]
    if kind not in BASE_VLMS:
        raise ConfigError(f"device is {device!r}; latency is measured on {' or '.join(BASE_VLMS)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', and torch sees no GPU here; give --device cpu")
    seconds = BUDGETS_S[kind] if budget_s is None else budget_s
    if seconds <= 0:
        raise ConfigError(f"budget_s is {budget_s}; give the seconds that the run may take")
    target = Path(out or f"runs/latency-{kind}.json")
    require_own_record(target, ("kind", "environment"), "--out")
    record = run_latency(device, size, target, seconds, seed)
    print(f"{'record':12} {record}")
    return 0


def run_latency(device: str, size: str, out: Path, budget_s: float, seed: int = 0, steps_of: str | None = None) -> Path:
    """Run every cell of a device and print the tables.

    Args:
        device: where.
        size: see `shapes`.
        out: file of the record.
        budget_s: seconds.
        seed: of weights and frames.
        steps_of: kind of device whose cells are run; that of `device` by default.

    Returns:
        The file.
    """
    budget, where = Budget(budget_s), torch.device(device)
    kind = steps_of or where.type
    torch.manual_seed(seed)
    sizes = shapes(size, BASE_VLMS[kind])
    found = environment(device, "bfloat16", ATTENTION)
    settings = {
        "device": where.type,
        "size": size,
        "host": sizes.base_vlm,
        "image_size": sizes.image_size,
        "dtype": str(DTYPE).removeprefix("torch."),
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
    suite = Suite(sizes, where, budget, record, DECODE_TOKENS[kind])
    suite.prepare(methods_to_make(steps))
    suite.run(steps)
    record.complete = True
    record.save(budget.spent)
    print(latency_text(record))
    return out
