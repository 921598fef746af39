"""What goes on inside the layers of a Llama-like LLM, for methods that walk through them one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from liteframe.errors import ConfigError

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of the positions, each (1, L, width of a head)."""


def require_llama_like(language_model: Any, name: str) -> Any:
    """The layers of an LLM that is walked through layer by layer.

    Raises:
        ConfigError: names the method, and what about the LLM it cannot do with.
    """
    layers = getattr(language_model, "layers", ())
    alike = [hasattr(getattr(layer, "self_attn", None), "k_proj") for layer in layers]
    if not alike or not all(alike) or not hasattr(language_model, "rotary_emb"):
        raise ConfigError(
            f"{name} walks through the layers of a Llama-like LLM, which {type(language_model).__name__} is not; merge"
            " an adapter first"
        )
    kernel = language_model.config._attn_implementation
    if kernel not in ("eager", "sdpa"):
        raise ConfigError(f"{name} runs with attention eager or sdpa, not {kernel!r}")
    if getattr(language_model, "has_sliding_layers", False):
        raise ConfigError(f"{name} cannot do with an LLM with sliding windows of attention")
    return layers


def last_token_attention(layer: Any, hidden_1LC: Tensor, rotary: Rotary) -> Tensor:
    """Attention that the last token pays to each token in a layer, mean over heads, (L,) in float32.

    Args:
        layer, hidden_1LC, rotary: as for `attention_rows`.
    """
    return attention_rows(layer, hidden_1LC, rotary, hidden_1LC.shape[1] - 1)[:, 0].mean(dim=0)


def attention_rows(layer: Any, hidden_1LC: Tensor, rotary: Rotary | None, first: int) -> Tensor:
    """Attention that tokens from place `first` on pay to every token in a layer: (heads, queries, L) in float32.

    Computed beside the layer, for these queries alone, so that the layer may run with any attention implementation.
    There is no causal mask: a query sees the tokens behind it, too.

    Args:
        layer: of the LLM.
        hidden_1LC: what goes into it.
        rotary: of all positions; None compares queries and keys before they are rotated.
        first: place of the first query.
    """
    attention = layer.self_attn
    query_1HQK = projected(layer, "q", hidden_1LC[:, first:])
    keys_1GLK = projected(layer, "k", hidden_1LC)
    if rotary is not None:
        cos, sin = rotary
        query_1HQK = rotate(query_1HQK, (cos[:, first:], sin[:, first:]))
        keys_1GLK = rotate(keys_1GLK, rotary)
    query_GJQK = query_1HQK[0].unflatten(0, (keys_1GLK.shape[1], -1))
    # Products of the kernel's own dtype; their softmax in float32, as in the kernel.
    logits_GJQL = torch.einsum("gjqk,glk->gjql", query_GJQK, keys_1GLK[0]).float() * attention.scaling
    return logits_GJQL.softmax(dim=-1).flatten(0, 1)


def projected(layer: Any, which: str, hidden_1LC: Tensor) -> Tensor:
    """Queries "q" or keys "k" of tokens in a layer of the LLM, before rotary: (1, heads, L, width of a head)."""
    attention = layer.self_attn
    states_1LHK = getattr(attention, f"{which}_proj")(layer.input_layernorm(hidden_1LC))
    states_1LHK = states_1LHK.unflatten(-1, (-1, attention.head_dim))
    if hasattr(attention, f"{which}_norm"):
        states_1LHK = getattr(attention, f"{which}_norm")(states_1LHK)
    return states_1LHK.transpose(1, 2)


def rotated(layer: Any, which: str, hidden_1LC: Tensor, rotary: Rotary) -> Tensor:
    """As `projected`, rotated to their positions."""
    return rotate(projected(layer, which, hidden_1LC), rotary)


def rotate(states_1HLK: Tensor, rotary: Rotary) -> Tensor:
    """Queries or keys, rotated to their positions."""
    return apply_rotary_pos_emb(states_1HLK, states_1HLK, *rotary)[0]


def causal_mask(config: Any, hidden_1LC: Tensor) -> Tensor | None:
    """None for attention implementations that are causal by themselves; what eager attention adds to the logits."""
    if config._attn_implementation != "eager":
        return None
    length = hidden_1LC.shape[1]
    lowest = torch.finfo(hidden_1LC.dtype).min
    return torch.full((length, length), lowest, dtype=hidden_1LC.dtype, device=hidden_1LC.device).triu(1)[None, None]
