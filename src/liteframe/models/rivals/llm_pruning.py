"""A Video LLM that loses visual tokens inside its LLM: by FastV, PyramidDrop, or half of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.llm_layers import Rotary, causal_mask, require_llama_like
from liteframe.models.rivals.pruners import Pruner
from liteframe.models.rivals.uneven import CompressedVideo, UnevenVideoLLM
from liteframe.models.rivals.wrapped import WrappedVideoLLM
from liteframe.models.video_llm.answering_model import AnsweringModel, TokenCounts
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.llm_pruning import mean_tokens


class PrunedVideoLLM(WrappedVideoLLM):
    """A Video LLM whose LLM drops visual tokens while it reads the prompt.

    What is dropped depends on the question, so questions about a video do not share its prefill.

    Args:
        inner: the Video LLM as it is without, which may compress before its LLM; that is of the Llama kind (Qwen2,
            Qwen3, Llama), without adapters.
        pruner: which tokens are dropped after which layers.

    Raises:
        ConfigError: an LLM of another kind, or a plan that does not fit its layers.
    """

    def __init__(self, inner: VideoLLM | UnevenVideoLLM, pruner: Pruner) -> None:
        super().__init__(inner.inner if isinstance(inner, UnevenVideoLLM) else inner)
        self.before = inner if isinstance(inner, UnevenVideoLLM) else None
        self.backbone = inner.backbone
        layers = require_llama_like(inner.language_model, type(pruner).__name__)
        pruner.plan(1, len(layers))
        self.pruner = pruner

    @property
    def steps(self) -> AnsweringModel:
        """What makes the tokens that the LLM is shown."""
        return self.inner if self.before is None else self.before

    def encode(self, frames_BTCHW: Tensor) -> Any:
        """As the model without."""
        return self.steps.encode(frames_BTCHW)

    def compress(self, vision: VisionTokens) -> Any:
        """As the model without."""
        return self.steps.compress(vision)

    def project(self, encoded: Any) -> Any:
        """As the model without."""
        return self.steps.project(encoded)

    def token_counts(self, encoded: Any, visual: Any) -> TokenCounts:
        """The LLM's first layers see all that it is shown; asked for is what its last layers see."""
        seen, layers = self.steps.token_counts(encoded, visual), len(self.language_model.layers)
        plan = self.pruner.plan(seen.llm, layers)
        asked = max(1, round((seen.asked or seen.llm) / self.pruner.ratio))
        return TokenCounts(seen.encoder, seen.llm, asked, mean_tokens(plan, seen.llm, layers))

    def prompt_ids(self, visual: Any, question: str) -> list[int]:
        """As the model without."""
        return self.steps.prompt_ids(visual, question)

    @torch.no_grad()
    def prefill(self, visual: Tensor | list[CompressedVideo], ids_L: list[int]) -> Tensor:
        """Logits (B, vocabulary) of the first answer token; the videos go through the LLM one by one."""
        videos = each_video(visual)
        ids_1L = torch.tensor([ids_L], device=videos[0].device)
        visual_L = ids_1L[0] == self.inner.image_token_id
        states = [self.last_state(self.inner.embed(ids_1L, visual_1TNC), visual_L) for visual_1TNC in videos]
        return self.inner.lm_head(torch.cat(states))

    def first_answer_logits(
        self, visual: Tensor | list[CompressedVideo], questions_B: Sequence[Sequence[str]]
    ) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token, for each video."""
        videos = visual.split(1) if isinstance(visual, Tensor) else [[video] for video in visual]
        return [
            torch.cat([self.prefill(video, self.prompt_ids(video, question)) for question in questions])
            for video, questions in zip(videos, questions_B, strict=True)
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
        rotary: Rotary = model.rotary_emb(hidden_1LC, torch.arange(hidden_1LC.shape[1], device=hidden_1LC.device)[None])
        for depth, layer in enumerate(model.layers, start=1):
            keep = plan.get(depth)
            scores_L: Tensor | None = None
            if keep is not None and not self.pruner.ranks_with_next_layer:
                scores_L = self.pruner.scores(layer, hidden_1LC, rotary, visual_L)
            hidden_1LC = layer(
                hidden_1LC,
                attention_mask=causal_mask(model.config, hidden_1LC),
                position_embeddings=rotary,
            )
            if keep is None:
                continue
            if scores_L is None:
                scores_L = self.pruner.scores(model.layers[depth], hidden_1LC, rotary, visual_L)
            kept_K = self.pruner.kept(scores_L, visual_L, keep)
            hidden_1LC, visual_L = self.pruner.left(hidden_1LC, visual_L, kept_K), visual_L[kept_K]
            rotary = (rotary[0][:, kept_K], rotary[1][:, kept_K])
        return model.norm(hidden_1LC[:, -1])

    def describe(self) -> dict[str, Any]:
        """For a record; `ratio` is of all tokens to those that the LLM's last layer sees."""
        pruned = {"inside": "the LLM", **asdict(self.pruner)}
        if self.before is None:
            return {"compressor": type(self.pruner).__name__.lower(), **pruned}
        before = self.before.describe()
        # The pruner is the half that the method before the LLM lacks.
        before.pop("absent", None)
        ratios = {"ratio": round(self.before.ratio * self.pruner.ratio, 6), "ratio_inside": self.pruner.ratio}
        return {"compressor": f"{before['compressor']}-llm", **pruned, **ratios, "before": before}


def each_video(visual: Tensor | list[CompressedVideo]) -> list[Tensor]:
    """What the LLM is shown of each video, (1, T, N, C_llm), of what `project` gives."""
    if isinstance(visual, Tensor):
        return list(visual.split(1))
    return [video.compressed.tokens_MC[None, None] for video in visual]
