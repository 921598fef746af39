"""Finds values that are not finite among many tensors, in one pass over them and one wait for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from liteframe.errors import ConfigError


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity, in their order; integers never do.

    Tensors that are shared out among ranks are judged by this rank's part. Numbers of 8 bits, which torch computes
    nothing with, and tensors without memory (`meta`) are not looked at.
    """
    local = {name: _local(tensor.detach()) for name, tensor in tensors.items()}
    floats = {name: tensor for name, tensor in local.items() if _has_floats(tensor)}
    if not floats:
        return []
    norms = torch._foreach_norm(list(floats.values()))
    if bool(torch.stack([norm.float().to(norms[0].device) for norm in norms]).isfinite().all()):
        return []
    # The square of a large number is infinite too, so those in question are looked at closely.
    return [name for name, tensor in floats.items() if not bool(tensor.isfinite().all())]


def require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuses loaded tensors that hold NaN or infinity, so that the model's answers need not show it.

    Raises:
        ConfigError: some do; `where` and the first of them are named.
    """
    if bad := not_finite(tensors):
        raise ConfigError(f"{where}: {bad[0]} is not finite (NaN or infinity); copy or train it again")


def require_finite_module(module: nn.Module, where: str) -> None:
    """As `require_finite`, of all parameters and buffers of a module."""
    require_finite(module.state_dict(), where)


def _has_floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype.itemsize > 1 and not tensor.is_meta and tensor.numel() > 0


def _local(tensor: Tensor) -> Tensor:
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
