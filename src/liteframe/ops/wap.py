"""Weighted average pooling (WAP): the paper's compressor and the target of its distillation.

Inside a block of tokens, a token's weight is the softmax, over that block's tokens, of its similarity to the class
token of its *own* frame; the block's output is the weighted mean. The scale is not in the text we have, so it is an
argument. `saliency_pool` weighs by any number a token instead.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError
from liteframe.ops.pooling import Block, gather_blocks


def weighted_average_pool(
    tokens_BTHWC: Tensor,
    cls_BTC: Tensor,
    block: Block = (4, 2, 2),
    similarity: str = "dot",
    scale: float | None = None,
) -> Tensor:
    """Weighted mean of each block's tokens, weighted as `wap_weights` says (same arguments, same errors).

    Returns:
        ``(B, T/t, H/h, W/w, C)`` in the dtype of the tokens; weights and means are computed in float32 or better.
    """
    weights, tokens = _blocks(tokens_BTHWC, cls_BTC, block, similarity, scale)
    return _weighted_mean(weights, tokens).to(tokens_BTHWC.dtype)


def wap_weights(
    tokens_BTHWC: Tensor,
    cls_BTC: Tensor,
    block: Block = (4, 2, 2),
    similarity: str = "dot",
    scale: float | None = None,
) -> Tensor:
    """Weight of every token, on the uncompressed grid; the weights of each block sum to 1.

    Args:
        tokens_BTHWC: dense tokens of each frame. Frames that pad a last clip repeat the last real one and count as any
            other: the student is shown them too.
        cls_BTC: the class token of each frame, or another query of its width (see `ops.saliency`).
        block: frames, rows and columns of a block.
        similarity: ``"dot"``, the dot product of token and class token, or ``"cosine"`` of the angle between them.
        scale: factor on the similarity before the softmax; None is ``1/sqrt(C)`` for the dot product, 1 for the cosine.

    Returns:
        ``(B, T, H, W)``, float32 (float64 for float64 tokens).

    Raises:
        GeometryError: an axis that the block does not divide, or class tokens that do not fit the tokens.
        ConfigError: an unknown similarity.
    """
    weights, _ = _blocks(tokens_BTHWC, cls_BTC, block, similarity, scale)
    return _on_grid(weights, block)


def wap_similarities(
    tokens_BTHWC: Tensor, cls_BTC: Tensor, block: Block = (4, 2, 2), similarity: str = "dot"
) -> Tensor:
    """What `wap_weights` takes the softmax of at a scale of 1, (B, T, H, W); same arguments, same errors."""
    logits, _ = _similarities(tokens_BTHWC, cls_BTC, block, similarity)
    return _on_grid(logits.flatten(4), block)


def effective_tokens(weights_BTHW: Tensor, block: Block = (4, 2, 2)) -> Tensor:
    """How many tokens of each block WAP takes its mean over: exp of the entropy of the block's weights.

    From 1, where one token is taken alone, to t*h*w, where WAP is average pooling.

    Args:
        weights_BTHW: those of `wap_weights` or `saliency_weights`.
        block: that they were made with.

    Returns:
        ``(B, T/t, H/h, W/w)``.
    """
    weights = gather_blocks(weights_BTHW.unsqueeze(-1), block).flatten(4)
    return torch.special.entr(weights).sum(dim=-1).exp()


def scale_for(importance_BTHW: Tensor, effective: float, block: Block = (4, 2, 2)) -> float:
    """The scale at which WAP averages over so many effective tokens of a block, in the mean over the blocks.

    Args:
        importance_BTHW: what the softmax is of, at a scale of 1: importance scores or similarities of each token.
        effective: above 1, which is one token of each block, and below t*h*w, which is average pooling.
        block: frames, rows and columns of a block.

    Raises:
        ConfigError: no scale gives that many, because too many tokens of a block are equally important.
        GeometryError: an axis that the block does not divide.
    """
    tokens = math.prod(block)
    if not 1 < effective < tokens:
        raise ConfigError(f"effective tokens must be above 1 and below the {tokens} of a block, got {effective:g}")
    spread = float(gather_blocks(importance_BTHW.unsqueeze(-1), block).flatten(4).double().std(dim=-1).mean())
    low, high = -20.0, 20.0  # powers of e, of one over the scores' own deviation

    def found(power: float) -> float:
        weights = saliency_weights(importance_BTHW.double(), block, math.exp(power) / spread)
        return float(effective_tokens(weights, block).mean())

    if spread == 0 or found(high) > effective:
        raise ConfigError(
            f"no scale leaves {effective:g} effective tokens of {tokens}: too many tokens of a block are equally"
            " important; choose another importance score"
        )
    while high - low > 1e-3:  # the number falls as the scale rises
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) > effective else (low, middle)
    return math.exp(high) / spread


def saliency_pool(tokens_BTHWC: Tensor, saliency_BTHW: Tensor, block: Block = (4, 2, 2), scale: float = 1.0) -> Tensor:
    """Weighted mean of each block's tokens, weighted as `saliency_weights` says (same arguments, same errors).

    Returns:
        ``(B, T/t, H/h, W/w, C)`` in the dtype of the tokens; weights and means are computed in float32 or better.
    """
    if saliency_BTHW.shape != tokens_BTHWC.shape[:-1]:
        raise GeometryError(
            f"importance scores of shape {tuple(saliency_BTHW.shape)} do not fit tokens of shape"
            f" {tuple(tokens_BTHWC.shape)}: one number a token is needed"
        )
    weights = _softmax_of_blocks(saliency_BTHW, block, scale)
    return _weighted_mean(weights, gather_blocks(tokens_BTHWC, block).to(weights.dtype)).to(tokens_BTHWC.dtype)


def saliency_weights(saliency_BTHW: Tensor, block: Block = (4, 2, 2), scale: float = 1.0) -> Tensor:
    """Softmax, over each block's tokens, of a number a token: their weights, on the uncompressed grid.

    Args:
        saliency_BTHW: importance score of each token.
        block: frames, rows and columns of a block.
        scale: factor on the importance scores before the softmax.

    Returns:
        ``(B, T, H, W)``, float32 (float64 for float64 scores).

    Raises:
        GeometryError: an axis that the block does not divide, or scores that do not fit the tokens.
    """
    return _on_grid(_softmax_of_blocks(saliency_BTHW, block, scale), block)


def _softmax_of_blocks(saliency_BTHW: Tensor, block: Block, scale: float) -> Tensor:
    """Weights ``(B, T/t, H/h, W/w, t*h*w)``."""
    dtype = torch.promote_types(saliency_BTHW.dtype, torch.float32)
    logits = gather_blocks(saliency_BTHW.unsqueeze(-1), block).to(dtype).flatten(4)
    return (logits * scale).softmax(dim=-1)


def _weighted_mean(weights: Tensor, tokens: Tensor) -> Tensor:
    return (weights.unsqueeze(-1) * tokens.flatten(4, 5)).sum(dim=4)


def _on_grid(weights: Tensor, block: Block) -> Tensor:
    """Weights ``(B, T/t, H/h, W/w, t*h*w)`` back at the positions of their tokens, ``(B, T, H, W)``."""
    batch, frames, rows, columns = weights.shape[:4]
    t, h, w = block
    split = weights.unflatten(-1, (t, h, w)).permute(0, 1, 4, 2, 5, 3, 6)
    return split.reshape(batch, frames * t, rows * h, columns * w)


def _blocks(
    tokens_BTHWC: Tensor,
    cls_BTC: Tensor,
    block: Block,
    similarity: str,
    scale: float | None,
) -> tuple[Tensor, Tensor]:
    """Weights ``(B, T/t, H/h, W/w, t*h*w)`` and tokens as `gather_blocks` has them, in the dtype of the softmax."""
    logits, tokens = _similarities(tokens_BTHWC, cls_BTC, block, similarity)
    if scale is None:
        scale = default_scale(similarity, tokens_BTHWC.shape[-1])
    return (logits * scale).flatten(4).softmax(dim=-1), tokens


def _similarities(tokens_BTHWC: Tensor, cls_BTC: Tensor, block: Block, similarity: str) -> tuple[Tensor, Tensor]:
    """What `_blocks` takes the softmax of, before it is scaled, ``(B, T/t, H/h, W/w, t, h, w)``, and the tokens."""
    dtype = torch.promote_types(tokens_BTHWC.dtype, torch.float32)
    tokens = gather_blocks(tokens_BTHWC, block).to(dtype)
    frames, channels = tokens_BTHWC.shape[1], tokens_BTHWC.shape[-1]
    if cls_BTC.shape != (tokens_BTHWC.shape[0], frames, channels):
        raise GeometryError(
            f"class tokens of shape {tuple(cls_BTC.shape)} do not fit tokens of shape {tuple(tokens_BTHWC.shape)}: "
            "one class token of the same width a frame is needed"
        )
    cls = cls_BTC.to(dtype)
    if similarity == "cosine":
        cls = F.normalize(cls, dim=-1)
    elif similarity != "dot":
        raise ConfigError(f"similarity must be 'dot' or 'cosine', got {similarity!r}")
    # Product and sum, not a matrix product: autocast would round the logits to bfloat16.
    t = block[0]
    logits = (tokens * cls.reshape(-1, frames // t, 1, 1, t, 1, channels)).sum(dim=-1)
    if similarity == "cosine":
        logits = logits / tokens.norm(dim=-1).clamp_min(1e-12)
    return logits, tokens


def default_scale(similarity: str, channels: int) -> float:
    """``1/sqrt(C)`` for the dot product, 1 for the cosine."""
    return channels**-0.5 if similarity == "dot" else 1.0
