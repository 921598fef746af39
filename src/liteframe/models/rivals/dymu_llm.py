"""DyMU in the LLM: it computes on merged tokens, and attends as if all that they stand for were there.

Source: Wang et al., "DyMU: Dynamic Merging and Virtual Unmerging for Efficient VLMs" (NeurIPS 2025, arXiv 2504.17040),
virtual token unmerging; the official repository (MikeWangWZHL/dymu, `llava_qwen.py`) was read. As in the implementation
that it runs by default: in each layer, queries, keys and values of a merged token are copied to all of its positions,
each is rotated to its position, all positions attend, and a token takes the mean of what its positions get. All else,
projections and MLPs, sees the merged tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.dymu import DyMUTeacher, SharedTokens
from liteframe.models.rivals.llm_layers import Rotary, projected, require_llama_like, rotate
from liteframe.models.rivals.uneven import CompressedVideo, UnevenVideoLLM
from liteframe.models.teachers.internvl import pixel_shuffle
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.features import Compressed
from liteframe.ops.compressors.official import Official


@dataclass(frozen=True)
class DyMUVideo(CompressedVideo):
    """What the LLM sees of one video.

    Attributes:
        token_V: for each visual position of the prompt, which of the merged tokens stands there.
    """

    token_V: Tensor


class DyMUVideoLLM(UnevenVideoLLM):
    """A Video LLM whose encoder merges tokens and whose LLM attends as if it had not.

    The prompt has a position for every token of the encoder without merging.

    Args:
        inner: the Video LLM; its backbone must be a `DyMUTeacher`, nothing compressed after it, and its LLM of the
            Llama kind, without adapters.

    Raises:
        ConfigError: a backbone or an LLM of another kind, or a compressor in `inner`.
    """

    whole_prompts = True
    official = Official(
        "the video, in the encoder and inside the LLM",
        "squares of patches merge, of which the pixel shuffle makes one token; pairs of all frames of a video are"
        " ranked to meet the budget, where the official code has thresholds that were found on other pictures; at least"
        " one token a frame stays, so at 16x every tiny frame of 16 squares keeps just one, and none gets more",
        "not measured",
    )
    """How it stands to its authors' code."""

    def __init__(self, inner: VideoLLM) -> None:
        if not isinstance(inner.backbone, DyMUTeacher):
            raise ConfigError(f"DyMU needs a DyMUTeacher, not {type(inner.backbone).__name__}")
        super().__init__(inner, "DyMU", inner.backbone.ratio)
        require_llama_like(inner.language_model, "DyMU")

    def project(self, vision: VisionTokens) -> list[CompressedVideo]:
        """Projects what is left of each video."""
        assert isinstance(vision, SharedTokens)
        return [
            self._video(tokens_THWC, owner_TN)
            for tokens_THWC, owner_TN in zip(vision.tokens_BTHWC, vision.owners, strict=True)
        ]

    def _video(self, tokens_THWC: Tensor, owner_TN: Tensor) -> DyMUVideo:
        T, N = owner_TN.shape
        position_V = torch.arange(T * N, device=owner_TN.device)
        first_M, token_V = first_places(position_V // N * N + owner_TN.flatten(), position_V).unique(
            return_inverse=True
        )
        shuffled_VC = pixel_shuffle(tokens_THWC, self.inner.downsample_ratio).flatten(0, 2)[first_M]
        if not torch.is_autocast_enabled(shuffled_VC.device.type):
            shuffled_VC = shuffled_VC.to(next(self.inner.projector.parameters()).dtype)
        tokens_MC = self.inner.projector(shuffled_VC[None])[0]
        lines = [(frame + 1, N) for frame in range(T)]
        return DyMUVideo(Compressed(tokens_MC, first_M, self.asked(T * N)), lines, token_V)

    def token_counts(self, vision: VisionTokens, visual: list[CompressedVideo]) -> TokenCounts:
        """Of the first video: what is left of it. The LLM's attention alone has a position for each token there was."""
        counts = super().token_counts(vision, visual)
        assert isinstance(vision, SharedTokens)
        return replace(counts, encoder=counts.llm * (counts.encoder // vision.owners[0].numel()))

    @torch.no_grad()
    def prefill(self, visual: list[CompressedVideo], ids_L: list[int]) -> Tensor:
        """Logits (1, vocabulary) after a whole prompt about one video.

        Raises:
            GeometryError: several videos, whose tokens differ.
        """
        if len(visual) > 1:
            raise GeometryError(f"{len(visual)} videos were given; DyMU is prefilled video by video")
        video = visual[0]
        assert isinstance(video, DyMUVideo)
        ids_1L = torch.tensor([ids_L], device=video.token_V.device)
        visual_L = ids_1L[0] == self.inner.image_token_id
        embeds_1LC = self.inner.embed(ids_1L, video.compressed.tokens_MC[video.token_V][None, None])
        return self.inner.lm_head(self._last_state(embeds_1LC, visual_L, video.token_V))

    def first_answer_logits(self, visual: list[CompressedVideo], questions_B: Sequence[Sequence[str]]) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token, for each video."""
        return [
            torch.cat([self.prefill([video], self.prompt_ids([video], question)) for question in questions])
            for video, questions in zip(visual, questions_B, strict=True)
        ]

    def _last_state(self, embeds_1LC: Tensor, visual_L: Tensor, token_V: Tensor) -> Tensor:
        """Last hidden state of the prompt's last token, (1, C_llm)."""
        model: Any = self.language_model
        length = embeds_1LC.shape[1]
        place_V = visual_L.nonzero().squeeze(-1)
        first_L = torch.arange(length, device=visual_L.device)
        first_L[place_V] = first_places(token_V, place_V)
        kept_S, state_L = first_L.unique(return_inverse=True)
        rotary: Rotary = model.rotary_emb(embeds_1LC, torch.arange(length, device=visual_L.device)[None])
        hidden_1SC = embeds_1LC[:, kept_S]
        for layer in model.layers:
            hidden_1SC = unmerged_layer(layer, hidden_1SC, state_L, rotary)
        return model.norm(hidden_1SC[:, state_L[-1]])

    def describe(self) -> dict[str, Any]:
        """For a record."""
        assert isinstance(self.backbone, DyMUTeacher)
        return {"compressor": "dymu", **self.backbone.reduction, "on": "the encoder's layers"}


def first_places(token_V: Tensor, place_V: Tensor) -> Tensor:
    """For each place, the first one where the same token stands, (V,).

    Args:
        token_V: number of the token at each place.
        place_V: the places, ascending.
    """
    first_M = place_V.new_full((int(token_V.max()) + 1,), int(place_V[-1])).scatter_reduce(0, token_V, place_V, "amin")
    return first_M[token_V]


def unmerged_layer(layer: Any, hidden_1SC: Tensor, state_L: Tensor, rotary: Rotary) -> Tensor:
    """States (1, S, C) after a layer of the LLM in which each of them attends from all of its positions.

    Args:
        layer: of the LLM.
        hidden_1SC: what goes into it.
        state_L: which of the states stands at each position.
        rotary: of all positions.
    """
    attention = layer.self_attn
    query_1HLK, key_1GLK = (rotate(projected(layer, which, hidden_1SC)[:, :, state_L], rotary) for which in ("q", "k"))
    value_1SGK = attention.v_proj(layer.input_layernorm(hidden_1SC)).unflatten(-1, (-1, attention.head_dim))
    value_1GLK = value_1SGK.transpose(1, 2)[:, :, state_L]
    mixed_1HLK = F.scaled_dot_product_attention(
        query_1HLK, key_1GLK, value_1GLK, is_causal=True, scale=attention.scaling, enable_gqa=True
    )
    mixed_LC = mixed_1HLK[0].transpose(0, 1).flatten(1)
    # Sorted into groups: a scattered addition sums in another order each time on a GPU.
    grouped_LC = mixed_LC[state_L.argsort(stable=True)].float()
    mean_SC = torch.segment_reduce(grouped_LC, "mean", lengths=state_L.bincount(), axis=0)
    hidden_1SC = hidden_1SC + attention.o_proj(mean_SC.to(mixed_LC.dtype))[None]
    return hidden_1SC + layer.mlp(layer.post_attention_layernorm(hidden_1SC))
