"""A Video LLM that loses visual tokens inside its LLM: by FastV, PyramidDrop, or half of another.

See `ops.llm_pruning` for what each does.
"""

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
from liteframe.models.rivals.uneven import CompressedVideo, UnevenVideoLLM
from liteframe.models.rivals.wrapped import WrappedVideoLLM
from liteframe.models.video_llm.answering_model import AnsweringModel, TokenCounts
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.official import Official
from liteframe.ops.llm_pruning import (
    Plan,
    fastv_plan,
    kept_of_lines,
    kept_places,
    mean_tokens,
    merge_into_kept,
    pyramid_plan,
)

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of the positions, each (1, L, width of a head)."""


@dataclass(frozen=True)
class Pruner(ABC):
    """Which visual tokens are dropped behind which layers.

    Args:
        ratio: of the visual tokens that the LLM is shown to those that its last layer sees.
    """

    ratio: float = 16.0

    ranks_with_next_layer = False
    """Whether the layer behind the pruning says which tokens stay, or the one before it."""
    official: ClassVar[Official]
    """How it stands to its authors' code."""

    def scores(self, layer: Any, hidden_1LC: Tensor, rotary: Rotary, visual_L: Tensor) -> Tensor:
        """How much each token matters to a layer that these states go into, (L,)."""
        return last_token_attention(layer, hidden_1LC, rotary)

    def kept(self, scores_L: Tensor, visual_L: Tensor, keep: int) -> Tensor:
        """Places that stay, ascending: all text, and `keep` visual tokens."""
        return kept_places(scores_L, visual_L, keep)

    def left(self, hidden_1LC: Tensor, visual_L: Tensor, kept_K: Tensor) -> Tensor:
        """States of the places that stay, (1, K, C)."""
        return hidden_1LC[:, kept_K]

    @abstractmethod
    def plan(self, tokens: int, layers: int) -> Plan:
        """How many of the visual tokens are left behind which layers."""


@dataclass(frozen=True)
class OncePruner(Pruner):
    """Drops tokens behind a single layer.

    Args:
        after: that layer; None is the authors' depth, or as much of LLMs of other depths.
    """

    after: int | None = None

    depth: ClassVar[float]
    """Share of the layers that run before, in the authors' LLM."""

    def plan(self, tokens: int, layers: int) -> Plan:
        return fastv_plan(
            tokens, layers, self.ratio, depth_of(layers, self.depth) if self.after is None else self.after
        )


@dataclass(frozen=True)
class FastV(OncePruner):
    """See `ops.llm_pruning.fastv_plan`."""

    depth = 2 / 32
    official = Official(
        "the whole prompt",
        "tokens go behind a layer as deep as 2 of 32, in the tiny LLM behind 1 of 3; the share follows from the ratio",
        "the same tokens stay of the same states; behind 2 of 3 layers 0.812 for 0.808 at 16 frames (240 questions),"
        " with more tokens",
    )


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


@dataclass(frozen=True)
class PruneVidInside(OncePruner):
    """PruneVid's half inside the LLM: tokens that no word of the question attends to are dropped.

    Args:
        ratio: the paper leaves 0.4.
    """

    ratio: float = 2.5

    depth = 11 / 32
    official = Official(
        "segments of the video before the LLM, a `Frame` line inside",
        "before the LLM as PruneVid; inside it a line's tokens are ranked together, a segment's static ones among those"
        " of its first frame, and what rounding leaves over goes to the highest scores; the cache of the layers before"
        " is not cut, as no answer goes beyond its first token",
        "not measured",
    )

    def scores(self, layer: Any, hidden_1LC: Tensor, rotary: Rotary, visual_L: Tensor) -> Tensor:
        question = int(visual_L.nonzero().max()) + 1
        # The official code ranks by attention without positions and without a causal mask, beside what the layer does.
        return attention_rows(layer, hidden_1LC, None, question).amax(dim=(0, 1))

    def kept(self, scores_L: Tensor, visual_L: Tensor, keep: int) -> Tensor:
        return kept_of_lines(scores_L, visual_L, keep)


@dataclass(frozen=True)
class HoliTomInside(OncePruner):
    """HoliTom's half inside the LLM: the least attended tokens are merged into similar ones that stay.

    Args:
        ratio: the repository's scripts leave half.
    """

    ratio: float = 2.0

    depth = 18 / 28
    official = Official(
        "windows of the video before the LLM, the whole prompt inside",
        "before the LLM as HoliTom, but the ratio counts what the last layers see, where the official scripts count"
        " what the LLM is shown; tokens merge as deep as theirs",
        "inside the LLM nothing",
    )

    def left(self, hidden_1LC: Tensor, visual_L: Tensor, kept_K: Tensor) -> Tensor:
        return merge_into_kept(hidden_1LC[0], visual_L, kept_K)[None]


@dataclass(frozen=True)
class EarlyTomInside(HoliTomInside):
    """EarlyTom's half inside the LLM, which is HoliTom's, with the same settings in all of its scripts."""

    official = Official(
        "segments of the video before the LLM, the whole prompt inside",
        "before the LLM as EarlyTom, inside it as HoliTom; the ratio counts what the last layers see, where the"
        " official scripts count what the LLM is shown",
        "not measured",
    )


@dataclass(frozen=True)
class FlashVIDInside(FastV):
    """FlashVID's half inside the LLM, which is FastV deeper down.

    Args:
        ratio: the repository leaves 0.3.
    """

    ratio: float = 1 / 0.3

    depth = 20 / 28
    official = Official(
        "segments of the video before the LLM, the whole prompt inside",
        "before the LLM as FlashVID; the ratio counts what the last layers see, where the official code counts the mean"
        " over its 28 layers",
        "not measured",
    )


def depth_of(layers: int, share: float) -> int:
    """The layer at that share of all of them, but not the last."""
    return min(layers - 1, max(1, round(layers * share)))


PRUNERS: dict[str, type[Pruner]] = {
    "fastv": FastV,
    "pyramiddrop": PyramidDrop,
    "prunevid-llm": PruneVidInside,
    "holitom-llm": HoliTomInside,
    "earlytom-llm": EarlyTomInside,
    "flashvid-llm": FlashVIDInside,
}
"""Every pruner by the name of the method that it is, or the half of."""


class PrunedVideoLLM(WrappedVideoLLM):
    """A Video LLM whose LLM drops visual tokens while it reads the prompt.

    What is dropped depends on the question, so questions about a video do not share its prefill.

    Args:
        inner: the Video LLM as it is without, which may compress before its LLM; that is of the Llama kind (Qwen2,
            Qwen3, Llama), without adapters.
        pruner: which tokens are dropped behind which layers.

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
                attention_mask=_causal_mask(model.config, hidden_1LC),
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


def require_llama_like(language_model: Any, name: str) -> Any:
    """The layers of an LLM that is walked through layer by layer.

    Raises:
        ConfigError: names the method, and what about the LLM it cannot do with.
    """
    layers = getattr(language_model, "layers", None)
    if layers is None or not hasattr(layers[0].self_attn, "k_proj") or not hasattr(language_model, "rotary_emb"):
        raise ConfigError(
            f"{name} walks through the layers of a Llama-like LLM, which {type(language_model).__name__} is not; merge"
            " an adapter first"
        )
    kernel = language_model.config._attn_implementation
    if kernel not in ("eager", "sdpa"):
        raise ConfigError(f"{name} runs with attention eager or sdpa, not {kernel!r}")
    if getattr(language_model, "has_sliding_layers", False):
        raise ConfigError(f"{name} cannot prune an LLM with sliding windows of attention")
    return layers


def each_video(visual: Tensor | list[CompressedVideo]) -> list[Tensor]:
    """What the LLM is shown of each video, (1, T, N, C_llm), of what `project` gives."""
    if isinstance(visual, Tensor):
        return list(visual.split(1))
    return [video.compressed.tokens_MC[None, None] for video in visual]


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


def _causal_mask(config: Any, hidden_1LC: Tensor) -> Tensor | None:
    """None for attention implementations that are causal by themselves; what eager attention adds to the logits."""
    if config._attn_implementation != "eager":
        return None
    length = hidden_1LC.shape[1]
    lowest = torch.finfo(hidden_1LC.dtype).min
    return torch.full((length, length), lowest, dtype=hidden_1LC.dtype, device=hidden_1LC.device).triu(1)[None, None]
