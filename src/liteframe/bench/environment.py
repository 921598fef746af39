"""What a number was measured on and with. No host names and no paths: a record can be shown to anybody."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import liteframe
from liteframe.system import runtime
from liteframe.system.fast_dtype import cpu_name

_PACKAGES = (
    "torch", "torchvision", "transformers", "lightning", "timm", "peft", "torchmetrics", "numpy",
    "decord", "decord2", "av", "torchcodec",
)  # fmt: skip
_CPU_INFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_MALLOC_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_ARENA_MAX")


def environment(device: str = "cpu", dtype: str | None = None, attention_kernel: str | None = None) -> dict[str, Any]:
    """The record's environment.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        dtype: the computation's, such as "bf16-mixed".
        attention_kernel: such as "sdpa".
    """
    import torch

    return {
        "device": _device_name(device),
        "device_type": torch.device(device).type,
        "driver": _driver() if torch.device(device).type == "cuda" else None,
        "cuda": torch.version.cuda if torch.device(device).type == "cuda" else None,
        "cpu": cpu_name(),
        "cpu_instructions": cpu_instructions(),
        "cpu_count": os.cpu_count(),
        "cpus_usable": runtime.usable_cores(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "dtype": dtype,
        "attention_kernel": attention_kernel,
        "malloc": _malloc(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": package_versions(),
        **repository_state(),
    }


def cpu_instructions() -> list[str]:
    """Of those by which matrix products of a dtype are several times faster, the ones that this CPU has.

    CPUs of one name differ in them. Empty where the system is not Linux.
    """
    try:
        words = set(_CPU_INFO.read_text(errors="replace").split())
    except OSError:
        return []
    return [name for name in _INSTRUCTIONS if name in words]


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that decide a number; None where one is not installed."""
    versions: dict[str, str | None] = {"liteframe": liteframe.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def repository_state() -> dict[str, Any]:
    """``commit`` and ``dirty`` of the checkout this package runs from; None for an installed copy or without git."""
    package = Path(__file__).resolve().parent
    tracked = _git(package, "ls-files", "--error-unmatch", Path(__file__).name)
    commit = _git(package, "rev-parse", "HEAD")
    status = _git(package, "status", "--porcelain")
    if tracked is None or commit is None or status is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    return _output_of("git", "--no-optional-locks", "-C", str(folder), *arguments)


def _output_of(*command: str) -> str | None:
    """What a command prints; None where it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _device_name(device: str) -> str:
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(torch.device(device))
    return cpu_name()


def _driver() -> str | None:
    versions = (_output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "").split()
    return versions[0] if versions else None


def _malloc() -> dict[str, Any]:
    settings: dict[str, Any] = {name: os.environ[name] for name in _MALLOC_VARIABLES if name in os.environ}
    if "LD_PRELOAD" in os.environ:
        settings["preloaded"] = [Path(part).name for part in os.environ["LD_PRELOAD"].replace(":", " ").split()]
    return {**settings, "tuned": runtime.malloc_is_tuned}
