"""Multi-head self-attention over sequences of tokens: of a frame, of a clip, or of one position over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ZeroLinear(nn.Linear):
    """A linear layer that starts at zero, and so what is added to a residual stream through it."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class SelfAttention(nn.Module):
    """Multi-head self-attention among the N tokens of each row, ``(M, N, C)`` to the same shape.

    Args:
        channels, heads: width of the tokens, and in how many parts they are compared.
        qkv_bias: whether query, key and value have biases.
        kernel: "sdpa", "eager" or "auto", see `LiteFrameConfig`.
        zero_output: the output projection starts at zero.
    """

    def __init__(self, channels: int, heads: int, qkv_bias: bool, kernel: str, zero_output: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.kernel = "sdpa" if kernel == "auto" else kernel
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = (ZeroLinear if zero_output else nn.Linear)(channels, channels)

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        batch, count, channels = tokens_BNC.shape
        width = channels // self.heads
        qkv = self.qkv(tokens_BNC).view(batch, count, 3, self.heads, width).permute(2, 0, 3, 1, 4)
        if self.kernel == "eager":
            query, key, value = qkv.reshape(3, batch * self.heads, count, width).unbind(0)
            logits = torch.baddbmm(query.new_empty(1, 1, 1), query, key.transpose(1, 2), beta=0, alpha=width**-0.5)
            mixed = torch.bmm(logits.softmax(dim=-1), value).view(batch, self.heads, count, width)
        else:
            query, key, value = qkv.unbind(0)
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, channels))
