"""DyCoke with its second half: each token of an answer attends to only some visual tokens of the LLM's cache.

Source: Tao et al., "DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models" (CVPR 2025, arXiv
2411.15024), dynamic pruning; the official repository (KD-TAO/DyCoke) was read, of the paper only its opening and what
others quote; the settings are those of its README. As there: after layer 3 of 28, visual tokens are ranked by the
attention that the answer's current token paid them in that layer, mean over heads; in all later layers this token
attends to the best 0.3 of them, and to all text. Nothing leaves the cache, so the next token may attend to others. A
token whose attention has a cosine of 0.9 or more with the previous token's attends to all.

The prompt is read without pruning, so the first token of an answer is that of the first half alone
(`ops.compressors.dycoke`). Decided here: each answer starts without a previous token, where the official code remembers
the last question's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.models.rivals.attention_probe import attention_row
from liteframe.models.rivals.llm_layers import require_llama_like, rotated
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.rivals.pruners import depth_of
from liteframe.models.video_llm.generation import SharedVideo
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.features import check_share
from liteframe.ops.compressors.ranking import ranked

_ALIKE = 0.9


class DyCokeVideoLLM(PostHocVideoLLM):
    """A Video LLM with both halves of DyCoke.

    Args:
        inner: the Video LLM as it is without; its LLM of the Llama kind, without adapters.
        ratio: how many times fewer tokens the LLM is shown, at most about 4 with groups of 4 frames.
        dropped: share of those that a token of the answer does not attend to.

    Raises:
        ConfigError: an LLM of another kind, a setting out of range, or as `PostHocVideoLLM`.
    """

    def __init__(self, inner: VideoLLM, ratio: float = 16.0, dropped: float = 0.7) -> None:
        super().__init__(inner, "dycoke", ratio)
        check_share("dropped", dropped)
        require_llama_like(inner.language_model, "DyCoke")
        self.dropped = dropped

    def shared_video(self, visual_BTNC: Tensor, dtype: torch.dtype | None = None) -> DyCokeSharedVideo:
        """Answers about a video of which the LLM is shown this."""
        return DyCokeSharedVideo(self.inner, visual_BTNC, dtype, self.dropped)

    def describe(self) -> dict[str, Any]:
        """For a record."""
        before = {name: value for name, value in super().describe().items() if name != "absent"}
        return {**before, "compressor": "dycoke-llm", "dropped": self.dropped}


class DyCokeSharedVideo(SharedVideo):
    """A `SharedVideo` whose answers attend to few visual tokens after a layer.

    Args:
        model, visual_BTNC, dtype: as for `SharedVideo`.
        dropped: share of visual tokens that are not attended to.
        after: the layer, counted from 1, after which they are dropped; None is as deep as 3 of 28.
    """

    def __init__(
        self,
        model: VideoLLM,
        visual_BTNC: Tensor,
        dtype: torch.dtype | None = None,
        dropped: float = 0.7,
        after: int | None = None,
    ) -> None:
        super().__init__(model, visual_BTNC, dtype)
        self.dropped = dropped
        self.after = depth_of(len(self._llm.layers), 3 / 28) if after is None else after
        self._attention_V: Tensor | None = None

    def answer(self, video_ids: list[int], asked_ids: list[int], max_tokens: int) -> tuple[Tensor, list[int]]:
        self._attention_V = None
        return super().answer(video_ids, asked_ids, max_tokens)

    @property
    def _llm(self) -> Any:
        return self.model.language_model

    def _next(self, token: int) -> Tensor:
        hidden_11C = self.model.embed(torch.tensor([[token]], device=self.visual_BTNC.device), None)
        place_11 = torch.tensor([[self._cache.get_seq_length()]], device=hidden_11C.device)
        rotary = self._llm.rotary_emb(hidden_11C, place_11)
        cache: Any = self._cache
        seen = cache
        for depth, layer in enumerate(self._llm.layers, start=1):
            entering_11C = hidden_11C
            hidden_11C = layer(
                hidden_11C, attention_mask=None, position_embeddings=rotary, past_key_values=seen, use_cache=True
            )
            if depth == self.after:
                query_1HQK = rotated(layer, "q", entering_11C, rotary)
                keys_1LGK = cache.layers[depth - 1].keys.transpose(1, 2)
                heads, scale = query_1HQK.shape[1], layer.self_attn.scaling
                seen = self._seen(attention_row(query_1HQK.flatten(1), keys_1LGK.flatten(2), heads, scale)[0])
        return self._llm.norm(hidden_11C)[:, -1]

    def _seen(self, attention_L: Tensor) -> Any:
        """The cache that later layers read."""
        visual_L = torch.zeros_like(attention_L, dtype=torch.bool)
        visual_L[: len(self._read)] = torch.tensor(self._read, device=visual_L.device) == self.model.image_token_id
        place_V = visual_L.nonzero().squeeze(-1)
        attention_V, before_V = attention_L[place_V], self._attention_V
        self._attention_V = attention_V
        if before_V is not None and float(F.cosine_similarity(attention_V, before_V, dim=0)) >= _ALIKE:
            return self._cache
        keep = int(len(place_V) * (1 - self.dropped))
        visual_L[place_V[ranked(attention_V)[:keep]]] = False
        return _PartOfCache(self._cache, (~visual_L).nonzero().squeeze(-1))


class _PartOfCache:
    """A cache that stores every token but returns the keys and values of some positions only."""

    def __init__(self, cache: Any, place_K: Tensor) -> None:
        self._cache, self._place_K = cache, place_K

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any) -> tuple[Tensor, Tensor]:
        keys, values = self._cache.update(keys, values, layer_idx, *args)
        return keys[:, :, self._place_K], values[:, :, self._place_K]
