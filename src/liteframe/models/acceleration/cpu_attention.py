"""Attention over short sequences on a CPU, in the way whose gradients take the least time in a half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_HALF = (torch.bfloat16, torch.float16)
_LONGEST = 512
"""Of the sequences. Beyond it torch's kernel is as fast, and keeps no weights of all pairs of tokens."""


class ShortAttentionMultipliedOut(TorchFunctionMode):
    """A context in which `scaled_dot_product_attention` on a CPU is two matrix products with a softmax between them,
    where it is over short sequences, in a half precision, and gradients are asked for.

    torch's kernel for CPUs takes seven times as long for 50 tokens in bfloat16, forward and backward pass together, and
    twice as long for 250, most of it in the backward pass; the two are level near 1000.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and (dtype := _slow_dtype(*args, **kwargs)) is not None:
            with torch.autocast("cpu", enabled=False):
                return _multiplied_out(*(tensor.to(dtype) for tensor in args), **kwargs)
        return func(*args, **kwargs)


def _slow_dtype(*tensors: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **_: Any) -> Any:
    """The half precision of attention that is faster multiplied out; else None."""
    if len(tensors) != 3 or dropout_p or (attn_mask is not None and attn_mask.dtype != torch.bool):
        return None
    query, key, _value = tensors
    if query.device.type != "cpu" or query.ndim != 4 or max(query.shape[2], key.shape[2]) > _LONGEST:
        return None
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    return dtype if dtype in _HALF else None


def _multiplied_out(
    query_BHND: Tensor,
    key_BHMD: Tensor,
    value_BHMD: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As `scaled_dot_product_attention`; a token that may attend to none gets the mean of all."""
    batch, heads, count, width = query_BHND.shape
    if enable_gqa:
        key_BHMD, value_BHMD = (
            tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (key_BHMD, value_BHMD)
        )
    query, key, value = (tensor.flatten(0, 1) for tensor in (query_BHND, key_BHMD, value_BHMD))
    scale = width**-0.5 if scale is None else scale
    logits = torch.baddbmm(query.new_empty(1, 1, 1), query, key.mT, beta=0, alpha=scale)
    logits_BHNM = logits.view(batch, heads, count, -1)
    if is_causal:
        attn_mask = torch.ones(logits_BHNM.shape[2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        logits_BHNM = logits_BHNM.masked_fill(~attn_mask, torch.finfo(logits.dtype).min)
    weights = logits_BHNM.softmax(dim=-1).flatten(0, 1)
    return torch.bmm(weights, value).view(batch, heads, count, -1)
