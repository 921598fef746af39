"""What tokens are weighed by where there is no class token, for encoders that have none (or beside it, to compare).

WAP asks of a token how similar it is to a query. Its query is the class token of the frame (`ops.wap`); here are a
frame's mean token and the query of an encoder's attention pooling, and the norm, which needs no query.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.errors import GeometryError

SALIENCIES = ("class_token", "mean_token", "attention_pool", "norm")
"""The names by which configs choose."""


def mean_token(tokens_BTHWC: Tensor) -> Tensor:
    """Mean token of each frame, ``(B, T, C)``, in float32 or better: a query for `weighted_average_pool`."""
    return tokens_BTHWC.to(torch.promote_types(tokens_BTHWC.dtype, torch.float32)).mean(dim=(2, 3))


def attention_pool_query(
    probe_C: Tensor, query_weight_CC: Tensor, query_bias_C: Tensor | None, key_weight_CC: Tensor
) -> Tensor:
    """The learned probe of an attention pooling head, brought into the space of the tokens that it looks at.

    Dot products with it are the head's own logits, summed over the attention heads, up to a constant that no softmax
    sees (that of the keys' bias); scaled by ``1/sqrt(C)`` they are those of one head of full width.

    Args:
        probe_C: the learned query before its projection.
        query_weight_CC, query_bias_C: projection of the query, as ``nn.Linear`` has it.
        key_weight_CC: of the keys; the bias of the keys changes nothing.

    Returns:
        ``(C,)`` in float32 or better.
    """
    dtype = torch.promote_types(probe_C.dtype, torch.float32)
    # Products and sums, not matrix products: autocast would round them to bfloat16.
    query_C = (query_weight_CC.to(dtype) * probe_C.to(dtype)).sum(dim=-1)
    if query_bias_C is not None:
        query_C = query_C + query_bias_C.to(dtype)
    return (key_weight_CC.to(dtype) * query_C[:, None]).sum(dim=0)


def token_norms(tokens_BTHWC: Tensor, relative: bool = False) -> Tensor:
    """Length of every token, ``(B, T, H, W)`` in float32 or better.

    Args:
        tokens_BTHWC: dense tokens.
        relative: in units of the mean length in the token's frame, so that the scale of the features does not matter.
    """
    if tokens_BTHWC.ndim != 5:
        raise GeometryError(f"tokens must have the axes (B, T, H, W, C), got shape {tuple(tokens_BTHWC.shape)}")
    norms = tokens_BTHWC.to(torch.promote_types(tokens_BTHWC.dtype, torch.float32)).norm(dim=-1)
    if relative:
        norms = norms / norms.mean(dim=(2, 3), keepdim=True).clamp_min(1e-12)
    return norms
