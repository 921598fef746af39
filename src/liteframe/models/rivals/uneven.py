"""A Video LLM whose frames keep unequal numbers of tokens, in `Frame` lines that hold as many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.wrapped import WrappedVideoLLM
from liteframe.models.teachers.internvl import pixel_shuffle
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.hosts import Line
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.features import Compressed


@dataclass(frozen=True)
class CompressedVideo:
    """What the LLM sees of one video.

    Attributes:
        compressed: tokens of the LLM's width.
        lines: number of each `Frame` line and how many of the tokens stand in it; lines without any are left out.
    """

    compressed: Compressed
    lines: list[Line]


class UnevenVideoLLM(WrappedVideoLLM, ABC):
    """A Video LLM that compresses each video by itself, behind the projector.

    Args:
        inner: the Video LLM as it is without; nothing compressed before.
        name: of the method, for errors.
        ratio: how many times fewer tokens are asked for.
        frames_per_line: frames of a `Frame` line.

    Raises:
        ConfigError: a ratio or frames of a line below 1, or a compressor in `inner`.
    """

    whole_prompts: ClassVar[bool] = False
    """Whether a video goes through the LLM anew with each question, so that answers cannot share its prefill."""

    def __init__(self, inner: VideoLLM, name: str, ratio: float, frames_per_line: int = 1) -> None:
        super().__init__(inner)
        if ratio < 1:
            raise ConfigError(f"ratio is {ratio}; a compressor leaves 1/ratio of the tokens, so give 1 or more")
        if frames_per_line < 1:
            raise ConfigError(f"frames_per_line is {frames_per_line}; give 1 or more")
        if inner.frames_per_group != 1:
            raise ConfigError(
                f"{name} is applied to every frame's tokens, but a group of this model spans"
                f" {inner.frames_per_group} frames; give it a backbone and compressor that keep frames apart"
            )
        self.ratio, self.frames_per_line = ratio, frames_per_line

    def encode(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Dense tokens, with what the method needs of the encoder."""
        return self.compress(self.backbone(frames_BTCHW))

    def compress(self, vision: VisionTokens) -> VisionTokens:
        """Nothing yet: these methods work on projected tokens."""
        return vision

    @abstractmethod
    def project(self, vision: VisionTokens) -> list[CompressedVideo]:
        """Projects tokens, then compresses each video."""

    def token_counts(self, vision: VisionTokens, visual: list[CompressedVideo]) -> TokenCounts:
        """Of the first video; all of its tokens leave the encoder."""
        given = visual[0].compressed
        return TokenCounts(vision.tokens_BTHWC.shape[1:4].numel(), given.given, given.asked)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """For a record."""

    def asked(self, tokens: int) -> int:
        """How many of a video's tokens the method is asked for."""
        return max(1, round(tokens / self.ratio))

    def prompt_ids(self, visual: list[CompressedVideo], question: str) -> list[int]:
        """Of the first video."""
        before, after = self.prompts.question_ids_of_lines(question, visual[0].lines)
        return [*before, *after]

    def prefill(self, visual: list[CompressedVideo], ids_L: list[int]) -> Tensor:
        """Logits (1, vocabulary) after a whole prompt about one video.

        Raises:
            GeometryError: several videos, whose prompts differ.
        """
        if len(visual) > 1:
            raise GeometryError(f"{len(visual)} videos were given; a post-hoc method is prefilled video by video")
        return self.inner.prefill(visual[0].compressed.tokens_MC[None, None], ids_L)

    @torch.no_grad()
    def first_answer_logits(self, visual: list[CompressedVideo], questions_B: Sequence[Sequence[str]]) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token; video by video, as their prompts differ."""
        logits = []
        for video, questions in zip(visual, questions_B, strict=True):
            prompts = [self.prompts.question_ids_of_lines(question, video.lines) for question in questions]
            tokens_11MC = video.compressed.tokens_MC[None, None]
            (hidden_QC,) = self.inner.hidden_after(tokens_11MC, prompts[0][0], [[ids for _, ids in prompts]])
            logits.append(self.inner.lm_head(hidden_QC))
        return logits

    def _in_lines(self, compressed: Compressed, tokens_a_frame: int) -> CompressedVideo:
        """The video with its `Frame` lines, of which those that hold nothing are left out."""
        line_M, count_M = (compressed.places_M // (self.frames_per_line * tokens_a_frame)).unique_consecutive(
            return_counts=True
        )
        return CompressedVideo(compressed, list(zip((line_M + 1).tolist(), count_M.tolist(), strict=True)))


def shuffled(values_BTHWK: Tensor, ratio: float) -> Tensor:
    """Values of the patches behind each projected token, (B, T, H', W', patches, K)."""
    B, T = values_BTHWK.shape[:2]
    together = pixel_shuffle(values_BTHWK.flatten(0, 1), ratio).unflatten(0, (B, T))
    return together.unflatten(-1, (-1, values_BTHWK.shape[-1]))
