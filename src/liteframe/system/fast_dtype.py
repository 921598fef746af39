"""The dtype that a machine computes in fastest: measured where CPUs differ, and remembered for the next process.

With the right instructions a CPU multiplies bfloat16 several times faster than float32, without them several times
slower, and its flags alone do not say which.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liteframe.system.atomic import atomic_write_text

if TYPE_CHECKING:
    import torch

_CHANNELS, _HEADS = 384, 6
_TOKENS = (16, 64, 256, 1024)
"""Of one measurement after the other, each a better guess than that before it."""
_BUDGET_S, _RUNS = 0.5, 3


@dataclass(frozen=True)
class CpuRates:
    """How fast a CPU works through a transformer block under autocast to a dtype, in GFLOP/s."""

    bfloat16: float
    float32: float

    @property
    def fastest(self) -> str:
        """The name of the dtype with the higher rate."""
        return "bfloat16" if self.bfloat16 > self.float32 else "float32"


def fast_dtype(device: str | torch.device) -> str:
    """The dtype to compute in on a device, "float32", "bfloat16" or "float16".

    On a CPU it is the faster one, see `cpu_rates`; on an NVIDIA GPU bfloat16 where its hardware has it, else float16;
    elsewhere float32.
    """
    import torch

    device = torch.device(device)
    kind = device.type
    if kind == "cuda":
        with nullcontext() if device.index is None else torch.cuda.device(device):  # torch asks the current one
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return cpu_rates(torch.get_num_threads()).fastest if kind == "cpu" else "float32"


@cache
def cpu_rates(threads: int) -> CpuRates:
    """The rates of this CPU with so many threads of torch, the same for as long as the process lives."""
    return remembered_rates(threads)


def remembered_rates(threads: int) -> CpuRates:
    """The rates that an earlier process left in liteframe's cache, or else those measured now, which are left there.

    They count for the same CPU, torch and number of threads alone. Where nothing can be kept, each process measures.
    """
    machine = _machine(threads)
    place = _place(machine)
    try:
        content = json.loads(place.read_bytes())
        rates = CpuRates(**content["gflops"])
        if content["machine"] == machine and all(map(_is_rate, asdict(rates).values())):
            return rates
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError):
        pass  # not there, or nothing that was written here
    rates = measure_cpu_rates()
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(place, json.dumps({"machine": machine, "gflops": asdict(rates)}, indent=2) + "\n")
    return rates


def _is_rate(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def measure_cpu_rates(budget_s: float = _BUDGET_S) -> CpuRates:
    """Times a transformer block in both dtypes in turns, with more and more tokens until the next would take too long.

    Args:
        budget_s: seconds for it all; the first few tokens are measured whatever they take.
    """
    import torch

    begin, rates = time.perf_counter(), {"bfloat16": 0.0, "float32": 0.0}
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        # In train mode: in eval mode torch takes another way through this very module, and in float32 alone.
        block = torch.nn.TransformerEncoderLayer(
            _CHANNELS, _HEADS, 4 * _CHANNELS, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for count in _TOKENS:
            turn, tokens_BNC = time.perf_counter(), torch.randn(1, count, _CHANNELS)
            best = dict.fromkeys(rates, math.inf)
            for _ in range(1 + _RUNS):  # the first warms up
                for name in best:
                    best[name] = min(best[name], _seconds(block, tokens_BNC, getattr(torch, name)))
            operations = 2 * count * (12 * _CHANNELS**2 + 2 * count * _CHANNELS)
            rates = {name: operations / seconds / 1e9 for name, seconds in best.items()}
            next_takes = (time.perf_counter() - turn) * _TOKENS[1] / _TOKENS[0]
            if time.perf_counter() - begin + next_takes > budget_s:
                break
    return CpuRates(**rates)


def _seconds(block: torch.nn.Module, tokens_BNC: torch.Tensor, dtype: torch.dtype) -> float:
    import torch

    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        begin = time.perf_counter()
        block(tokens_BNC)
        return time.perf_counter() - begin


def _machine(threads: int) -> dict[str, Any]:
    """What the rates depend on."""
    import torch

    return {"cpu": cpu_name(), "flags": cpu_flags(), "threads": threads, "torch": torch.__version__}


def _place(machine: dict[str, Any]) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]
    return Path(home) / "liteframe" / "dtypes" / f"{name}.json"


def cpu_name() -> str:
    """Model name of the CPU."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Instruction sets of the CPU, as Linux names them; empty elsewhere."""
    return sorted((_cpuinfo("flags") or _cpuinfo("Features") or "").split())


def _cpuinfo(field: str) -> str | None:
    """The first value of a field in /proc/cpuinfo."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), None)
    return None
