"""How far a time is from the machine's limit: FLOPs over the matrix rate, bytes over the bandwidth, both measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from liteframe.bench.timers import measure, synchronize
from liteframe.models.flop_count import cost_of


def matrix_rate(dtype: torch.dtype, device: str | torch.device = "cpu", size: int | None = None) -> float:
    """GFLOP/s of a square matrix product (2 FLOPs a multiply-add), the best of several runs.

    ``size`` is 1024 on a CPU and 8192 on a GPU unless told.
    """
    size = size or (8192 if torch.device(device).type == "cuda" else 1024)
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    times_ms = measure(lambda: a @ b, warmup=3, min_runs=5, max_runs=20, max_seconds=0.5, device=device)
    return 2.0 * size**3 / (min(times_ms) * 1e6)


def bandwidth(device: str | torch.device = "cpu", mebibytes: int | None = None) -> float:
    """GB/s of a copy (bytes read and bytes written both count), the best of several runs.

    The buffer, 128 MiB on a CPU and 1024 MiB on a GPU unless told, should be larger than the caches.
    """
    mebibytes = mebibytes or (1024 if torch.device(device).type == "cuda" else 128)
    source = torch.ones(mebibytes * 2**20 // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    times_ms = measure(lambda: target.copy_(source), warmup=2, min_runs=5, max_runs=20, max_seconds=0.5, device=device)
    return 2.0 * mebibytes * 2**20 / (min(times_ms) * 1e6)


RATE_OF = {"bfloat16": "bf16_gflops", "float32": "fp32_gflops"}
"""Name of a dtype -> its rate among the limits."""


def measure_limits(device: str | torch.device = "cpu") -> dict[str, float]:
    """The machine's limits, measured now: ``bf16_gflops``, ``fp32_gflops``, ``bandwidth_gbs`` and the ``seconds``."""
    begin = time.perf_counter()
    with torch.inference_mode():
        limits = {
            "bf16_gflops": matrix_rate(torch.bfloat16, device),
            "fp32_gflops": matrix_rate(torch.float32, device),
            "bandwidth_gbs": bandwidth(device),
        }
    synchronize(device)
    return {**limits, "seconds": time.perf_counter() - begin}


def best_limits(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The higher of each rate that two `measure_limits` found, and the ``seconds`` of both.

    A limit is what the machine can do; a moment at which something else had it says less.
    """
    best = {name: max(rate, second[name]) for name, rate in first.items()}
    return {**best, "seconds": first["seconds"] + second["seconds"]}


def flops_of(fn: Callable[[], object]) -> int:
    """FLOPs (2 a multiply-add) of the matrix products and convolutions in one call of ``fn``; causal attention counts
    as full."""
    return int(cost_of(fn).forward)


def distance_to_floor(
    measured_ms: float, flops: float, gflops: float, moved_bytes: float = 0.0, bandwidth_gbs: float | None = None
) -> dict[str, Any]:
    """The least time the machine allows and how many times that was taken.

    Args:
        measured_ms: median time.
        flops: of the stage (``flops_of``).
        gflops: matrix rate, the best that the same run measured.
        moved_bytes: at least the weights, read once; 0 where unknown.
        bandwidth_gbs: measured; needed with ``moved_bytes``.

    Returns:
        ``compute_ms``, ``memory_ms``, ``floor_ms`` (the greater), ``bound`` and ``times_floor``.
    """
    if moved_bytes and bandwidth_gbs is None:
        raise ValueError("moved_bytes needs bandwidth_gbs")
    compute_ms = flops / (gflops * 1e6)
    memory_ms = moved_bytes / (bandwidth_gbs * 1e6) if bandwidth_gbs else 0.0
    floor_ms = max(compute_ms, memory_ms)
    return {
        "compute_ms": compute_ms,
        "memory_ms": memory_ms,
        "floor_ms": floor_ms,
        "bound": "compute" if compute_ms >= memory_ms else "memory",
        "times_floor": measured_ms / floor_ms if floor_ms else None,
    }
