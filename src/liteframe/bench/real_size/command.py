"""``liteframe latency``: the paper's real shapes with random weights, stage by stage, on this machine.

``python -m liteframe.bench.real_size`` does the same where only torch, transformers and timm are installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from liteframe.errors import ConfigError
from liteframe.system.fast_dtype import fast_dtype
from liteframe.system.own_record import require_own_record

BUDGETS_S = {"cpu": 1140.0, "cuda": 520.0}


def latency_command(
    device: str = "cpu",
    size: str = "real",
    out: str | None = None,
    budget_s: float | None = None,
    seed: int = 0,
    dtype: Literal["auto", "bfloat16", "float32"] = "auto",
) -> int:
    """Measure latency at the paper's real shapes, with random weights.

    Args:
        device: cpu or cuda.
        size: real, or tiny for a try in seconds that says nothing about speed.
        out: file of the record; by default runs/latency-DEVICE.json.
        budget_s: seconds that the run may take, by default 1140 on a CPU and 520 on a GPU; cells that do not fit are
            left out, and listed in the record.
        seed: of the random weights and frames.
        dtype: of all weights; auto is bfloat16 on a GPU, and on a CPU the faster one for each encoder and for the LLM.
    """
    kind = device.partition(":")[0]
    if kind not in BUDGETS_S:
        raise ConfigError(f"device is {device!r}; latency is measured on {' or '.join(BUDGETS_S)}")
    if kind == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ConfigError("device is 'cuda', and torch sees no GPU here; give --device cpu")
    seconds = BUDGETS_S[kind] if budget_s is None else budget_s
    if seconds <= 0:
        raise ConfigError(f"budget_s is {budget_s}; give the seconds that the run may take")
    target = Path(out or f"runs/latency-{kind}.json")
    require_own_record(target, ("kind", "environment"), "--out")
    from liteframe.bench.real_size.run import run_latency

    own_dtypes = dtype == "auto" and kind == "cpu"
    if dtype == "auto":
        dtype = "float32" if kind == "cpu" and fast_dtype("cpu") == "float32" else "bfloat16"
    record = run_latency(device, size, target, seconds, seed, dtype=dtype, own_dtypes=own_dtypes)
    print(f"{'record':12} {record}")
    return 0
