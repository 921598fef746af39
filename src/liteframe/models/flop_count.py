"""Floating point operations of a forward pass, counted on the modules themselves: on real tensors, fake ones or `meta`.

A multiplication with its addition is two operations, as torch's `FlopCounterMode` has it. Norms, activations and
softmax count nothing; attention counts whole, with the half that a causal kernel leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten
_WITH_WEIGHTS = (_aten.mm, _aten.addmm, _aten.convolution, _aten._grouped_mm)
"""Operators that multiply tokens with weights; the others that count multiply tokens with tokens."""


@dataclass(frozen=True)
class Cost:
    """Operations of a forward pass, told apart by what their backward pass costs.

    Attributes:
        linear: products of tokens with weights.
        attention: products of tokens with tokens.
        pixels: products of pixels with weights; no gradient goes on to the pixels.
    """

    linear: float = 0.0
    attention: float = 0.0
    pixels: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.linear + other.linear, self.attention + other.attention, self.pixels + other.pixels)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.linear * times, self.attention * times, self.pixels * times)

    @property
    def forward(self) -> float:
        return self.linear + self.attention + self.pixels

    def training(self, trained: bool = True) -> float:
        """Forward and backward; weights that are not `trained` only let the gradient of their input through."""
        return self.linear * (3 if trained else 2) + 3 * self.attention + self.pixels * (2 if trained else 1)


class FlopCounter(FlopCounterMode):
    """Torch's counter, which by itself passes over the fused attention of CPUs and over grouped experts."""

    def __init__(self) -> None:
        kernels = {
            _aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
            _aten._grouped_mm: _grouped_flops,
        }
        super().__init__(display=False, custom_mapping=kernels)

    @property
    def cost(self) -> Cost:
        """What was counted so far; pixels are among `linear`."""
        counts = self.get_flop_counts().get("Global", {})
        linear = sum(flops for operator, flops in counts.items() if operator in _WITH_WEIGHTS)
        return Cost(linear, sum(counts.values()) - linear)


def cost_of(fn: Callable[[], object]) -> Cost:
    """Operations of one call of `fn`, whose gradients are not followed; pixels are among `linear`."""
    with torch.no_grad(), FlopCounter() as counter:
        fn()
    return counter.cost


def _attention_flops(query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    return 4 * prod(query) * key[-2]


def _grouped_flops(rows: Sequence[int], experts: Sequence[int], *_: Any, **__: Any) -> int:
    """Each row goes through one expert."""
    return 2 * prod(rows) * experts[-1]
