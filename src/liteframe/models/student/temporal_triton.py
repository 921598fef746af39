"""A Triton kernel for the depth-wise temporal convolution and the addition behind it, in one pass over the tokens.

cuDNN and torch read the tokens for the convolution, write its result, and read both again to add them.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _depthwise_add(
    tokens_ptr: Any,
    weight_ptr: Any,
    bias_ptr: Any,
    out_ptr: Any,
    frame_size: Any,
    CHANNELS: tl.constexpr,
    FRAMES: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A program mixes all frames of a clip at BLOCK places of a frame, which its neighbouring frames share in cache."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < frame_size
    channel = place % CHANNELS
    first = tl.program_id(1).to(tl.int64) * FRAMES * frame_size
    bias = tl.load(bias_ptr + channel, mask=inside).to(tl.float32)
    for frame in tl.static_range(FRAMES):
        own = first + frame * frame_size + place
        total = tl.load(tokens_ptr + own, mask=inside).to(tl.float32) + bias
        for tap in tl.static_range(TAPS):
            source = frame + tap - TAPS // 2
            if source >= 0 and source < FRAMES:
                weight = tl.load(weight_ptr + channel * TAPS + tap, mask=inside).to(tl.float32)
                token = tl.load(tokens_ptr + first + source * frame_size + place, mask=inside).to(tl.float32)
                total += weight * token
        tl.store(out_ptr + own, total.to(out_ptr.dtype.element_ty), mask=inside)


def depthwise_temporal_add(tokens_BTNC: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Tokens plus their convolution over time, zero-padded.

    It is summed in float32, so rounded once where torch rounds twice.

    Args:
        tokens_BTNC: of clips, (B, T, N, C).
        weight: (C, 1, odd kernel).
        bias: (C,).

    Returns:
        (B, T, N, C), in the tokens' dtype.
    """
    tokens_BTNC = tokens_BTNC.contiguous()
    batch, frames, count, channels = tokens_BTNC.shape
    out_BTNC = torch.empty_like(tokens_BTNC)
    frame_size = count * channels
    # Triton launches on the current GPU, which need not be that of the tokens.
    with torch.cuda.device(tokens_BTNC.device) if tokens_BTNC.is_cuda else nullcontext():
        _depthwise_add[(triton.cdiv(frame_size, _BLOCK), batch)](
            tokens_BTNC,
            weight.contiguous(),
            bias,
            out_BTNC,
            frame_size,
            CHANNELS=channels,
            FRAMES=frames,
            TAPS=weight.shape[-1],
            BLOCK=_BLOCK,
        )
    return out_BTNC
