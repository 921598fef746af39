"""Operations, told apart into products with weights and products of tokens with tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from liteframe.models.flop_count import Cost, cost_of


def test_products_with_weights() -> None:
    linear, conv = nn.Linear(7, 5), nn.Conv2d(6, 6, 3, groups=6, padding=1)
    assert cost_of(lambda: linear(torch.randn(2, 3, 7))) == Cost(linear=2 * 6 * 7 * 5)
    assert cost_of(lambda: conv(torch.randn(1, 6, 4, 4))) == Cost(linear=2 * 16 * 6 * 9)
    rows, experts = torch.randn(12, 8), torch.randn(3, 8, 16)
    offsets = torch.tensor([2, 4, 12], dtype=torch.int32)
    grouped = cost_of(lambda: F.grouped_mm(rows.bfloat16(), experts.bfloat16(), offs=offsets))
    assert grouped == Cost(linear=2 * 12 * 8 * 16), "each row goes through one expert"


def test_attention_counts_the_same_in_every_kernel() -> None:
    for device in ("cpu", "meta"):
        query = torch.randn(2, 4, 10, 16, device=device)
        key = torch.randn(2, 2, 30, 16, device=device)
        cost = cost_of(lambda q=query, k=key: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))
        assert cost == Cost(attention=2 * (2 * 2 * 4 * 10 * 30 * 16)), "fused, and on meta as plain matrices"
