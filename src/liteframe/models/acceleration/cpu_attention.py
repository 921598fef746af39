"""Attention on a CPU whose gradients torch computes faster in float32 than in a half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_HALF = (torch.bfloat16, torch.float16)
_LONGEST = 256
"""Of the sequences. Beyond it the two take the same time, and float32 keeps twice the memory for the gradients."""


class ShortAttentionInFloat32(TorchFunctionMode):
    """A context in which `scaled_dot_product_attention` over short sequences is computed in float32 on a CPU, where it
    would be in a half precision and gradients are asked for; its result has the dtype that it would have had.

    The gradients of bfloat16 attention over 50 tokens take five times as long as those of float32, and those over 200
    half as long again, whatever the rate of matrix products.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and (dtype := _slow_dtype(args)) is not None:
            query, key, value = (tensor.float() for tensor in args[:3])
            mask = kwargs.get("attn_mask")
            if mask is not None and mask.is_floating_point():
                kwargs = kwargs | {"attn_mask": mask.float()}
            with torch.autocast("cpu", enabled=False):
                return func(query, key, value, *args[3:], **kwargs).to(dtype)
        return func(*args, **kwargs)


def _slow_dtype(args: tuple[Any, ...]) -> torch.dtype | None:
    """The half precision that attention of these arguments would have, where float32 is faster; else None."""
    if len(args) != 3:  # by name, or with more that goes without one: nobody calls it so
        return None
    query: Tensor = args[0]
    if query.device.type != "cpu" or max(query.shape[-2], args[1].shape[-2]) > _LONGEST:
        return None
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in args)):
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    return dtype if dtype in _HALF else None
