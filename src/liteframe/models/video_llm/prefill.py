"""Prefill: a prompt goes through the LLM, a part after the other, and leaves its keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from liteframe.errors import ConfigError
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.cancellation import Cancellation

_PREFILL_TOKENS = 512
"""Of a prompt that go through the LLM at a time, so that activations of a long one take no more memory."""
_MASKED_PAIRS, _FEW_TOKENS = 2**20, 64
"""On a CPU, pairs of those and of all tokens, of which attention's mask has a number each: where there would be more,
fewer go at a time, though never fewer than so many."""


def read_prompt(
    model: VideoLLM, ids: Sequence[int], visual_BTNC: Tensor | None, cache: Cache, wanted: Cancellation | None = None
) -> Tensor:
    """The last hidden state (1, C_llm) of a prompt that has gone through the LLM, a part after the other.

    Nothing of a part outlives it but its keys and values.

    Args:
        model: the Video LLM.
        ids: of the prompt, behind those in the cache.
        visual_BTNC: what the LLM sees of its videos, (1, T, N, C_llm); None of a text.
        cache: takes keys and values.
        wanted: looked at before each part. Where it ends the reading, as where anything else does, some parts or
            layers are in the cache and others are not: it is good for nothing any more.

    Raises:
        Cancelled: nobody wants the answer any more.
        ConfigError: other visual tokens than the prompt has places for.
    """
    weight: Any = model.language_model.get_input_embeddings().weight
    device: torch.device = weight.device
    step = _tokens_at_once(cache.get_seq_length() + len(ids), device)
    visual_MC = None if visual_BTNC is None else visual_BTNC.flatten(0, 2)
    if visual_MC is not None and (places := ids.count(model.image_token_id)) != len(visual_MC):
        raise ConfigError(f"the prompt has {places} positions for visual tokens, the videos give {len(visual_MC)}")
    shown = 0
    for start in range(0, len(ids), step):
        if wanted is not None:
            wanted.check()
        part = list(ids[start : start + step])
        count = part.count(model.image_token_id) if visual_MC is not None else 0
        seen = visual_MC[None, None, shown : shown + count] if visual_MC is not None and count else None
        shown += count
        embeds_BLC = model.embed(torch.tensor([part], device=device), seen, visual_count=count)
        hidden_BLC = model.hidden_states(embeds_BLC, cache=cache)
    return hidden_BLC[:, -1]


def _tokens_at_once(length: int, device: torch.device) -> int:
    """Tokens of a part, of a prompt of that many."""
    if device.type != "cpu":
        return _PREFILL_TOKENS
    return min(_PREFILL_TOKENS, max(_FEW_TOKENS, _MASKED_PAIRS // length))
