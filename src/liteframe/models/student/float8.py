"""The student's linear layers in float8 (E4M3), on GPUs that multiply it, by torchao."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import torch
from torch import nn

from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.system.installation import install_hint

CAPABILITY = (8, 9)
"""Least compute capability of a GPU that multiplies float8: Ada; Hopper is 9.0."""


def require_float8(device: str | torch.device) -> Any:
    """Module `torchao.quantization`, where torchao is installed and the device multiplies float8.

    Raises:
        ConfigError: it is not, or does not.
    """
    kind = torch.device(device)
    if kind.type != "cuda" or not torch.cuda.is_available():
        raise ConfigError(f"float8 runs on GPUs alone, and the device is {str(device)!r}; choose another engine")
    capability = torch.cuda.get_device_capability(kind)
    if capability < CAPABILITY:
        own, least = (".".join(map(str, each)) for each in (capability, CAPABILITY))
        raise ConfigError(
            f"{torch.cuda.get_device_name(kind)} has compute capability {own}, and float8 needs {least} or newer;"
            " choose another engine"
        )
    logging.getLogger("torchao").setLevel(logging.ERROR)  # of kernels for other tasks that it does not find
    try:
        return import_module("torchao.quantization")
    except ImportError as error:
        raise ConfigError(f"torchao cannot be imported ({error}); {install_hint('fp8')}") from error


def quantise_float8(encoder: LiteFrameEncoder, torchao: Any) -> None:
    """Turns the linear layers of its blocks into float8, in place: weights now, activations as they come.

    Each row of weights and each token has a scale of its own. Embedding, convolutions, norms and head stay as they
    are. Uncompiled, it is slower than bfloat16, as every scale is a kernel of its own; see `compile_layers`.

    Args:
        encoder: in bfloat16.
        torchao: of `require_float8`.
    """
    config = torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerRow())
    torchao.quantize_(encoder.blocks, config, filter_fn=lambda module, name: isinstance(module, nn.Linear))
