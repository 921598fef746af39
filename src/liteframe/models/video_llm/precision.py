"""Where a Video LLM answers, and in which arithmetic."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from liteframe.errors import ConfigError
from liteframe.system.fast_dtype import fast_dtype

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names of precisions, and the dtype of autocast that each goes with."""
AUTO = "auto"
Module = TypeVar("Module", bound=nn.Module)


def dtype_named(name: str | None, device: str | torch.device) -> str | None:
    """The name of a dtype for what a user gave; None, which is that of the LLM's weights, stays.

    "auto" on a CPU is the faster one there, see `fast_dtype`, whatever the weights are: where that is float32, bfloat16
    weights are to be converted and take twice the memory. Elsewhere "auto" is None.

    Args:
        name: "float32", "bfloat16", "float16", "auto" or None.
        device: where the model will be, "auto" as of `on_device`.

    Raises:
        ConfigError: no such dtype.
    """
    if name == AUTO:
        return fast_dtype("cpu") if str(_named(device)).partition(":")[0] == "cpu" else None
    if name is not None and name not in DTYPES:
        raise ConfigError(f"dtype is {name!r}; choose one of {', '.join((*DTYPES, AUTO))}")
    return name


def merged_dtype(name: str | None) -> torch.dtype | None:
    """Of weights that an adapter is merged into, for a precision; None is the one of the LLM's.

    Those that compute in float32 are merged in it: rounded to fewer bits first, much of an adapter would be lost.
    """
    return torch.float32 if name == "float32" else None


def set_precision(model: nn.Module, name: str) -> torch.dtype | None:
    """Makes the weights fit a precision; the dtype of autocast for it, None for none.

    "float32" converts the weights, and a half precision those of the other one, which autocast would mix with its own.

    Raises:
        ConfigError: no such precision.
    """
    if name not in DTYPES:
        raise ConfigError(f"dtype is {name!r}; choose one of {', '.join(DTYPES)}")
    dtype = DTYPES[name]
    if dtype is None:
        model.float()
        return None
    for weight in (*model.parameters(), *model.buffers()):
        if weight.is_floating_point() and weight.dtype not in (torch.float32, dtype):
            weight.data = weight.data.to(dtype)
    return dtype


def on_device(model: Module, device: str) -> Module:
    """The model on a device, "cpu", "cuda", ...; "auto" is a GPU where there is one.

    Raises:
        ConfigError: there is no such device, or not enough memory on it.
    """
    try:
        return model.to(torch.device(_named(device)))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} cannot be used: {error}") from error


def _named(device: str | torch.device) -> str | torch.device:
    """The device, and for "auto" a GPU where there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
