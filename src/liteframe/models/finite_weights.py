"""Weights that are not finite are noticed when they are loaded, not by the answers of the model."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from liteframe.errors import ConfigError


def require_finite(tensors: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Refuses tensors that hold NaN or infinity, in one pass over their memory.

    Raises:
        ConfigError: one does; it is named.
    """
    for name, tensor in tensors:
        # The largest and the smallest say it: NaN is passed on by both, and neither needs a copy.
        looked_at = tensor.is_floating_point() and tensor.numel() and not tensor.is_meta and tensor.dtype.itemsize > 1
        if looked_at and not all(torch.isfinite(bound) for bound in tensor.detach().aminmax()):
            raise ConfigError(f"{where}: {name} is not finite (NaN or infinity); copy or train it again")


def require_finite_module(module: nn.Module, where: str) -> None:
    """As `require_finite`, of all parameters and buffers of a module."""
    require_finite(module.state_dict().items(), where)
