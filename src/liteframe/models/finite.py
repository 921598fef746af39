"""Finds values that are not finite among many tensors, in one pass over them and one wait for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity, in their order; integers never do.

    Tensors that are shared out among ranks are judged by this rank's part.
    """
    local = {name: _local(tensor.detach()) for name, tensor in tensors.items()}
    floats = {name: tensor for name, tensor in local.items() if tensor.is_floating_point() and tensor.numel()}
    if not floats:
        return []
    norms = torch._foreach_norm(list(floats.values()))
    if bool(torch.stack([norm.float().to(norms[0].device) for norm in norms]).isfinite().all()):
        return []
    # The square of a large number is infinite too, so those in question are looked at closely.
    return [name for name, tensor in floats.items() if not bool(tensor.isfinite().all())]


def _local(tensor: Tensor) -> Tensor:
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
