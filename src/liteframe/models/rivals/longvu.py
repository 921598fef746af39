"""LongVU around a Video LLM: see `ops.compressors.longvu` for its steps.

What is trained in LongVU is not here: its sampler that joins the tokens of SigLIP and DINOv2, and its LLM. Frames are
compared by the encoder's own tokens, where the paper has DINOv2's, and the base VLM's pixel shuffle and projector make
what the LLM is shown. As in the official code, rows and columns become fewer in front of the projector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.uneven import CompressedVideo, UnevenVideoLLM
from liteframe.models.teachers.internvl import pixel_shuffle
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prompts import Line
from liteframe.ops.compressors.features import Compressed, check_count, check_share
from liteframe.ops.compressors.longvu import (
    asked_about,
    changed,
    coarse_places,
    coarser,
    cut,
    distinct_frames,
    finer_frames,
)
from liteframe.ops.compressors.official import Official


@dataclass(frozen=True)
class LongVUVideo(CompressedVideo):
    """What the LLM sees of one video; as it stands, without a question, no frame is chosen to be shown in full.

    Attributes:
        finer: frames that a question can choose.
        fine_FNC, coarse_FNC: what the LLM would be shown of each remaining frame, if any can be chosen.
    """

    finer: int = 0
    fine_FNC: Tensor | None = None
    coarse_FNC: Tensor | None = None

    def for_text(self, text_LC: Tensor) -> tuple[Tensor, list[Line]]:
        """Tokens (M, C) and lines, with the frames in full that this text behind the video is about."""
        assert self.fine_FNC is not None and self.coarse_FNC is not None
        chosen = set(asked_about(self.coarse_FNC, text_LC, self.finer))
        tokens = [
            self.fine_FNC[frame] if frame in chosen else self.coarse_FNC[frame] for frame in range(len(self.lines))
        ]
        lines = [(number, len(own)) for (number, _), own in zip(self.lines, tokens, strict=True)]
        return torch.cat(tokens), lines


class LongVUVideoLLM(UnevenVideoLLM):
    """A Video LLM with the parts of LongVU that need no training.

    It may give fewer tokens than it is asked for, where few differ from the first of their chunk. Where frames can be
    shown in full, questions about a video do not share its prefill.

    Args:
        inner: the Video LLM as it is without; its encoder keeps frames apart, and nothing compressed behind it.
        ratio: how many times fewer tokens are asked for.
        window, distinct: of `distinct_frames`; the official 0.83 is for DINOv2's tokens, and 0.9 was chosen for those
            of the tiny world's encoder on its tuning seed.
        threshold, chunk: of `changed`.

    Raises:
        ConfigError: a setting out of range, or a compressor in `inner`.
    """

    whole_prompts = True
    official = Official(
        "windows of 16 frames, chunks of 8, and the video",
        "the encoder's own tokens stand in for DINOv2's, so frames are left out from a likeness of 0.9 to their window"
        " on, where the official code has 0.83; InternVL's pixel shuffle and projector stand in for the trained"
        " sampler, the ratio for what the context has room for; what is too many is dropped from frames of fewer rows"
        " and columns, and cut off exactly",
        "with 0.83 0.461 for 0.539 at 16 frames and 0.696 for 0.765 at 64; 0.96 is the best at 64 alone, 0.824",
    )
    """How it stands to its authors' code."""

    def __init__(
        self,
        inner: VideoLLM,
        ratio: float = 16.0,
        window: int = 16,
        distinct: float = 0.9,
        threshold: float = 0.65,
        chunk: int = 8,
    ) -> None:
        super().__init__(inner, "LongVU", ratio)
        check_count("window", window)
        check_count("chunk", chunk)
        check_share("distinct", distinct, -1.0)
        check_share("threshold", threshold, -1.0)
        self.window, self.distinct, self.threshold, self.chunk = window, distinct, threshold, chunk

    def project(self, vision: VisionTokens) -> list[CompressedVideo]:
        """Leaves frames out, then projects what is shown of the others."""
        return [self._video(tokens_THWC) for tokens_THWC in vision.tokens_BTHWC]

    def _video(self, tokens_THWC: Tensor) -> LongVUVideo:
        fine_THWC = pixel_shuffle(tokens_THWC, self.inner.downsample_ratio)
        T, *grid = fine_THWC.shape[:3]
        fine = grid[0] * grid[1]
        coarse_THWC = coarser(fine_THWC)
        coarse = coarse_THWC.shape[1] * coarse_THWC.shape[2]
        keep = self.asked(T * fine)
        frames = list(range(T))
        if len(frames) >= max(1, keep // coarse):
            frames = distinct_frames(tokens_THWC.flatten(1, 2), self.window, self.distinct)
        frame_F = torch.tensor(frames, device=tokens_THWC.device)
        finer = finer_frames(len(frames), keep, fine, coarse)
        if finer == len(frames):
            return self._shown(self._projected(fine_THWC[frame_F]), frame_F, torch.arange(fine), fine, keep)
        coarse_FNC = self._projected(coarse_THWC[frame_F])
        place_N = torch.tensor(coarse_places((grid[0], grid[1]), (coarse_THWC.shape[1], coarse_THWC.shape[2])))
        video = self._shown(coarse_FNC, frame_F, place_N, fine, keep)
        if not finer:
            return video
        return replace(video, finer=finer, fine_FNC=self._projected(fine_THWC[frame_F]), coarse_FNC=coarse_FNC)

    def _shown(self, tokens_FNC: Tensor, frame_F: Tensor, place_N: Tensor, fine: int, keep: int) -> LongVUVideo:
        """All of these tokens where they are not too many, else those that changed."""
        stays_FN = torch.ones_like(tokens_FNC[..., 0], dtype=torch.bool)
        if stays_FN.numel() > keep:
            stays_FN = cut(changed(tokens_FNC, self.threshold, self.chunk), keep, self.chunk)
        places_FN = frame_F[:, None] * fine + place_N.to(frame_F.device)
        video = self._in_lines(Compressed(tokens_FNC[stays_FN], places_FN[stays_FN], keep), fine)
        return LongVUVideo(video.compressed, video.lines)

    def _projected(self, grid_FHWC: Tensor) -> Tensor:
        """Tokens of the LLM's width, (F, N, C_llm), of what a pixel shuffle gave."""
        if not torch.is_autocast_enabled(grid_FHWC.device.type):
            grid_FHWC = grid_FHWC.to(next(self.inner.projector.parameters()).dtype)
        return self.inner.projector(grid_FHWC.flatten(1, 2))

    def token_counts(self, vision: VisionTokens, visual: list[CompressedVideo]) -> TokenCounts:
        """Of the first video, with the frames that a question chooses in full."""
        counts, video = super().token_counts(vision, visual), visual[0]
        assert isinstance(video, LongVUVideo)
        if video.fine_FNC is None or video.coarse_FNC is None:
            return counts
        return replace(counts, llm=counts.llm + video.finer * (video.fine_FNC.shape[1] - video.coarse_FNC.shape[1]))

    def prompt_ids(self, visual: list[CompressedVideo], question: str) -> list[int]:
        """Of the first video; lines are as long as what this question is shown."""
        video, ids = visual[0], super().prompt_ids(visual, question)
        assert isinstance(video, LongVUVideo)
        if not video.finer:
            return ids
        _, lines = video.for_text(self._text_behind(ids))
        before, after = self.prompts.question_ids_of_lines(question, lines)
        return [*before, *after]

    def prefill(self, visual: list[CompressedVideo], ids_L: list[int]) -> Tensor:
        """Logits (1, vocabulary) after a whole prompt about one video, as `prompt_ids` gives it.

        Raises:
            GeometryError: several videos, whose prompts differ.
        """
        video = visual[0]
        assert isinstance(video, LongVUVideo)
        if len(visual) > 1 or not video.finer:
            return super().prefill(visual, ids_L)
        tokens_MC, _ = video.for_text(self._text_behind(ids_L))
        return self.inner.prefill(tokens_MC[None, None], ids_L)

    @torch.no_grad()
    def first_answer_logits(self, visual: list[CompressedVideo], questions_B: Sequence[Sequence[str]]) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token, for each video."""
        logits = []
        for video, questions in zip(visual, questions_B, strict=True):
            assert isinstance(video, LongVUVideo)
            if video.finer:
                prompts = [self.prompt_ids([video], question) for question in questions]
                logits.append(torch.cat([self.prefill([video], ids) for ids in prompts]))
            else:
                logits += super().first_answer_logits([video], [questions])
        return logits

    def _text_behind(self, ids_L: list[int]) -> Tensor:
        """Embeddings (L, C_llm) of all that stands behind the last visual token."""
        embeddings = self.language_model.get_input_embeddings()
        last = len(ids_L) - 1 - ids_L[::-1].index(self.inner.image_token_id)
        return embeddings(torch.tensor(ids_L[last + 1 :], device=embeddings.weight.device))

    def describe(self) -> dict[str, Any]:
        """For a record."""
        settings = {name: getattr(self, name) for name in ("window", "distinct", "threshold", "chunk")}
        return {"compressor": "longvu", "ratio": self.ratio, "on": "tokens before the projector", **settings}
