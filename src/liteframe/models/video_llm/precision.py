"""Where a Video LLM answers, and in which arithmetic."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from liteframe.errors import ConfigError

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Names of precisions, and the dtype of autocast that each goes with."""
Module = TypeVar("Module", bound=nn.Module)


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
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return model.to(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} cannot be used: {error}") from error
