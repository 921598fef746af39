"""A Video LLM that loses visual tokens inside its LLM: FastV and PyramidDrop (see `ops.llm_pruning`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.attention_probe import attention_row
from liteframe.models.rivals.wrapped import WrappedVideoLLM
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.official import Official
from liteframe.ops.llm_pruning import Plan, fastv_plan, kept_places, mean_tokens, pyramid_plan


@dataclass(frozen=True)
class Pruner(ABC):
    """What goes where.

    Args:
        ratio: of all visual tokens to those that the last layer sees.
    """

    ratio: float = 16.0

    ranks_with_next_layer = False
    """Whether the layer behind the pruning says which tokens stay, or the one before it."""
    official: ClassVar[Official]
    """How it stands to its authors' code."""

    @abstractmethod
    def plan(self, tokens: int, layers: int) -> Plan:
        """How many of the visual tokens are left behind which layers."""


@dataclass(frozen=True)
class FastV(Pruner):
    """See `ops.llm_pruning.fastv_plan`.

    Args:
        after: the layer behind which tokens go; None is the paper's 2 of 32, or as much of fewer layers.
    """

    after: int | None = None

    official = Official(
        "the whole prompt",
        "tokens go behind a layer as deep as 2 of 32, in the tiny LLM behind 1 of 3; the share follows from the ratio",
        "the same tokens stay of the same states; behind 2 of 3 layers 0.812 for 0.808 at 16 frames (240 questions),"
        " with more tokens",
    )

    def plan(self, tokens: int, layers: int) -> Plan:
        return fastv_plan(tokens, layers, self.ratio, max(1, round(layers / 16)) if self.after is None else self.after)


@dataclass(frozen=True)
class PyramidDrop(Pruner):
    """See `ops.llm_pruning.pyramid_plan`.

    Args:
        stages: of layers; None is the paper's 4, or one a layer of fewer layers.
    """

    stages: int | None = None

    ranks_with_next_layer = True
    official = Official(
        "the whole prompt",
        "kept tokens keep their positions, where the official code counts them anew; the share of each stage follows"
        " from the ratio",
        "nothing: the same tokens stay of the same states; counted anew 0.971 for 0.975 at 64 frames (240 questions)",
    )

    def plan(self, tokens: int, layers: int) -> Plan:
        return pyramid_plan(tokens, layers, self.ratio, min(4, layers) if self.stages is None else self.stages)


PRUNERS: dict[str, type[Pruner]] = {"fastv": FastV, "pyramiddrop": PyramidDrop}
"""Every pruner by name."""


class PrunedVideoLLM(WrappedVideoLLM):
    """A Video LLM whose LLM drops visual tokens while it reads the prompt.

    What goes depends on the question, so questions about a video do not share its prefill.

    Args:
        inner: the Video LLM as it is without; its LLM of the Llama kind (Qwen2, Qwen3, Llama), without adapters.
        pruner: what goes where.

    Raises:
        ConfigError: an LLM of another kind, or a plan that does not fit its layers.
    """

    def __init__(self, inner: VideoLLM, pruner: Pruner) -> None:
        super().__init__(inner)
        language_model: Any = inner.language_model
        layers = getattr(language_model, "layers", None)
        if layers is None or not hasattr(layers[0].self_attn, "k_proj") or not hasattr(language_model, "rotary_emb"):
            raise ConfigError(
                f"{type(pruner).__name__} walks through the layers of a Llama-like LLM, which"
                f" {type(language_model).__name__} is not; merge an adapter first"
            )
        kernel = language_model.config._attn_implementation
        if kernel not in ("eager", "sdpa"):
            raise ConfigError(f"{type(pruner).__name__} runs with attention eager or sdpa, not {kernel!r}")
        if getattr(language_model, "has_sliding_layers", False):
            raise ConfigError(f"{type(pruner).__name__} cannot prune an LLM with sliding windows of attention")
        pruner.plan(1, len(layers))
        self.pruner = pruner

    def encode(self, frames_BTCHW: Tensor) -> Tensor:
        """As the inner model."""
        return self.inner.encode(frames_BTCHW)

    def compress(self, vision: VisionTokens) -> Tensor:
        """As the inner model."""
        return self.inner.compress(vision)

    def project(self, tokens_BTHWC: Tensor) -> Tensor:
        """As the inner model."""
        return self.inner.project(tokens_BTHWC)

    def token_counts(self, encoded_BTHWC: Tensor, visual_BTNC: Tensor) -> TokenCounts:
        """The LLM sees all tokens at first; asked for is what its last layers see."""
        seen, layers = self.inner.token_counts(encoded_BTHWC, visual_BTNC), len(self.language_model.layers)
        plan = self.pruner.plan(seen.llm, layers)
        asked = max(1, round(seen.llm / self.pruner.ratio))
        return TokenCounts(seen.encoder, seen.llm, asked, mean_tokens(plan, seen.llm, layers))

    def prompt_ids(self, visual_BTNC: Tensor, question: str) -> list[int]:
        """As the inner model."""
        return self.inner.prompt_ids(visual_BTNC, question)

    @torch.no_grad()
    def prefill(self, visual_BTNC: Tensor, ids_L: list[int]) -> Tensor:
        """Logits (B, vocabulary) of the first answer token; the videos go through the LLM one by one."""
        ids_1L = torch.tensor([ids_L], device=visual_BTNC.device)
        visual_L = ids_1L[0] == self.inner.image_token_id
        states = [
            self.last_state(self.inner.embed(ids_1L, visual_1TNC), visual_L) for visual_1TNC in visual_BTNC.split(1)
        ]
        return self.inner.lm_head(torch.cat(states))

    def first_answer_logits(self, visual_BTNC: Tensor, questions_B: Sequence[Sequence[str]]) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token, for each video."""
        return [
            torch.cat([self.prefill(visual_1TNC, self.prompt_ids(visual_1TNC, question)) for question in questions])
            for visual_1TNC, questions in zip(visual_BTNC.split(1), questions_B, strict=True)
        ]

    def last_state(self, embeds_1LC: Tensor, visual_L: Tensor, visual_tokens: int | None = None) -> Tensor:
        """Last hidden state of a prompt's last token, (1, C_llm).

        Args:
            embeds_1LC: of a whole prompt.
            visual_L: where its visual tokens are.
            visual_tokens: how many these are; None counts them, for which a GPU has to be waited for.
        """
        model: Any = self.language_model
        visual_tokens = int(visual_L.sum()) if visual_tokens is None else visual_tokens
        plan = self.pruner.plan(visual_tokens, len(model.layers))
        hidden_1LC = embeds_1LC
        rotary = model.rotary_emb(hidden_1LC, torch.arange(hidden_1LC.shape[1], device=hidden_1LC.device)[None])
        for depth, layer in enumerate(model.layers, start=1):
            keep = plan.get(depth)
            scores_L: Tensor | None = None
            if keep is not None and not self.pruner.ranks_with_next_layer:
                scores_L = last_token_attention(layer, hidden_1LC, rotary)
            hidden_1LC = layer(
                hidden_1LC,
                attention_mask=_causal_mask(model.config, hidden_1LC),
                position_embeddings=rotary,
            )
            if keep is None:
                continue
            if scores_L is None:
                scores_L = last_token_attention(model.layers[depth], hidden_1LC, rotary)
            kept_K = kept_places(scores_L, visual_L, keep)
            hidden_1LC, visual_L = hidden_1LC[:, kept_K], visual_L[kept_K]
            rotary = (rotary[0][:, kept_K], rotary[1][:, kept_K])
        return model.norm(hidden_1LC[:, -1])

    def describe(self) -> dict[str, Any]:
        """For a record."""
        return {"compressor": type(self.pruner).__name__.lower(), "inside": "the LLM", **asdict(self.pruner)}


def last_token_attention(layer: Any, hidden_1LC: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Attention that the last token pays to each token in a layer, mean over heads, (L,) in float32.

    Computed beside the layer, for this one query row, so that the layer may run with any attention implementation.

    Args:
        layer: of the LLM.
        hidden_1LC: what goes into it.
        rotary: cosines and sines of the positions.
    """
    attention = layer.self_attn
    normed_1LC = layer.input_layernorm(hidden_1LC)
    width = attention.head_dim
    query_1HLK = attention.q_proj(normed_1LC[:, -1:]).unflatten(-1, (-1, width))
    keys_1HLK = attention.k_proj(normed_1LC).unflatten(-1, (-1, width))
    if hasattr(attention, "q_norm"):
        query_1HLK, keys_1HLK = attention.q_norm(query_1HLK), attention.k_norm(keys_1HLK)
    query_1HLK, keys_1HLK = query_1HLK.transpose(1, 2), keys_1HLK.transpose(1, 2)
    cos, sin = rotary
    query_1HLK, _ = apply_rotary_pos_emb(query_1HLK, query_1HLK, cos[:, -1:], sin[:, -1:])
    keys_1HLK, _ = apply_rotary_pos_emb(keys_1HLK, keys_1HLK, cos, sin)
    heads = query_1HLK.shape[1]
    query_1K = query_1HLK.transpose(1, 2).flatten(1)
    return attention_row(query_1K, keys_1HLK.transpose(1, 2).flatten(2), heads, attention.scaling)[0]


def _causal_mask(config: Any, hidden_1LC: Tensor) -> Tensor | None:
    """None for attention implementations that are causal by themselves; what eager attention adds to the logits."""
    if config._attn_implementation != "eager":
        return None
    length = hidden_1LC.shape[1]
    lowest = torch.finfo(hidden_1LC.dtype).min
    return torch.full((length, length), lowest, dtype=hidden_1LC.dtype, device=hidden_1LC.device).triu(1)[None, None]
