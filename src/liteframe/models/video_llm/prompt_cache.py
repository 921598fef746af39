"""Keys and values of a prompt, in room that is made once: tokens that come are written behind those that are there.

transformers' own cache copies all that it has with each token, and needs room for both copies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

_MORE = 1.25
"""By how much room grows that was too little."""
_ANSWER_TOKENS = 512
"""Of an answer that room is made for at once, as most end long before they may."""


def prompt_cache(language_model: PreTrainedModel, prompt: int, answer: int = 0) -> DynamicCache:
    """An empty cache for an LLM, with room for a prompt and its answer; more tokens find room, too.

    Args:
        language_model: whose config says which layers it has; those that keep but a window stay transformers' own.
        prompt: tokens of it.
        answer: tokens of it, at most.
    """
    cache, tokens = DynamicCache(config=language_model.config), prompt + min(answer, _ANSWER_TOKENS)
    cache.layers = [RoomyLayer(tokens) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def holds_all(cache: DynamicCache) -> bool:
    """Whether every layer of a cache of `prompt_cache` holds all tokens, so that it may be cut back or padded."""
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


class RoomyLayer(DynamicLayer):
    """One layer's keys and values as a part of larger tensors, (B, heads, tokens, C).

    Whoever copies a cache copies it by `copy.deepcopy`: shallow copies would write into the same room, each over what
    the other holds.

    Args:
        tokens: that there is room for from the start.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens = tokens
        self._rooms: list[Tensor | None] = [None, None]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens, with those of some more."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._extended(0, self.keys, key_states)
        self.values = self._extended(1, self.values, value_states)
        return self.keys, self.values

    def _extended(self, which: int, held: Tensor | None, more: Tensor) -> Tensor:
        length = 0 if held is None or not held.numel() else held.shape[-2]
        stop, room = length + more.shape[-2], self._rooms[which]
        if room is None or stop > room.shape[-2] or not _takes(room, held if length else None, more):
            size = self._tokens if stop <= self._tokens else int(stop * _MORE)
            room = self._rooms[which] = torch.empty(
                (*more.shape[:-2], size, more.shape[-1]), dtype=more.dtype, device=more.device
            )
            if held is not None and length:
                room[..., :length, :] = held
        room[..., length:stop, :] = more
        return room[..., :stop, :]

    def reset(self) -> None:
        """Drops what is held, and the room."""
        super().reset()
        self._rooms = [None, None]


def _takes(room: Tensor, held: Tensor | None, more: Tensor) -> bool:
    """Whether more can be written behind what is held: that may be of another batch by now, or have been copied."""
    if room.is_inference() and not torch.is_inference_mode_enabled():
        return False
    alike = (room.shape[:-2], room.shape[-1], room.dtype, room.device)
    if (more.shape[:-2], more.shape[-1], more.dtype, more.device) != alike:
        return False
    if held is None:
        return True
    begins_there = (held.data_ptr(), held.stride()) == (room.data_ptr(), room.stride())
    return begins_there and (held.shape[:-2], held.shape[-1], held.dtype, held.device) == alike
