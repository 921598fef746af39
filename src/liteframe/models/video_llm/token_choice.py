"""The next token by its logits: the likeliest, or one that is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from liteframe.errors import DataError

Choice = Callable[[Tensor], Tensor]
"""Takes the next tokens (B) by their logits (B, vocabulary)."""


def likeliest(logits_BV: Tensor) -> Tensor:
    """The token of the highest logit, which makes an answer greedy."""
    return logits_BV.argmax(dim=-1)


class Sampled:
    """Draws tokens by their probability, in the order of transformers: temperature, then top-k, then top-p.

    Args:
        temperature: that the logits are divided by, above 0.
        top_k: draws from so many likeliest tokens; None from all.
        top_p: draws from the fewest tokens that have this much of the probability.
        seed: the same one draws the same tokens; None is of chance.
    """

    def __init__(
        self, temperature: float, top_k: int | None = None, top_p: float | None = None, seed: int | None = None
    ) -> None:
        self._warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
        self._warpers += [] if top_k is None else [TopKLogitsWarper(top_k)]
        self._warpers += [] if top_p is None else [TopPLogitsWarper(top_p)]
        # On the CPU, so that a seed means the same on every device.
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Tokens (B). Raises DataError where the logits are no numbers."""
        scores_BV = logits_BV.float().cpu()
        if not scores_BV.amax(dim=-1).isfinite().all():
            raise DataError("the model's logits are no numbers; take another dtype")
        for warp in self._warpers:
            scores_BV = warp(None, scores_BV)
        drawn_B1 = torch.multinomial(scores_BV.softmax(dim=-1), 1, generator=self._generator)
        return drawn_B1[:, 0].to(logits_BV.device)
