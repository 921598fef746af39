"""From the frames of a video to what an LLM sees of it, for each frame count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from liteframe.errors import DataError
from liteframe.evaluation.answering import whole_clips
from liteframe.evaluation.frames import SampledFrames
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.models.backbone import VisionTokens, joined
from liteframe.models.clip_chunks import CLIPS_AT_ONCE, encode_chunks
from liteframe.models.video_llm.hosts import Groups, Line
from liteframe.models.video_llm.tiling import WHOLE, Grid, Tiling


@dataclass(frozen=True)
class Shown:
    """What the LLM sees of a video.

    Attributes:
        visual: tokens of the LLM's width, in the order of the lines, (1, 1, M, C_llm).
        lines: number of each `Frame` line, and how many of the tokens stand in it.
        frames_per_line: frames of the video behind each number.
        frames: that were looked at.
        grid: of tiles that each was cut into.
        groups: of the frames, see `VideoLLM.groups_of`.
    """

    visual: Tensor
    lines: tuple[Line, ...]
    frames_per_line: int
    frames: int
    grid: Grid = WHOLE
    groups: Groups = 0

    @property
    def tokens(self) -> int:
        """Visual tokens."""
        return sum(count for _, count in self.lines)


class Watched:
    """What a model sees of a video, for each frame count.

    Args:
        subject: the model.
        frames: of the video.
        tiling: how they are cut, where they are.
    """

    def __init__(self, subject: EvaluatedModel, frames: SampledFrames, tiling: Tiling | None) -> None:
        self.subject, self.frames, self.tiling = subject, frames, tiling
        self._vision: VisionTokens | None = None

    @torch.inference_mode()
    def shown(self, count: int) -> Shown:
        """What the LLM sees at a frame count.

        A frame that several counts take is encoded once, where the encoder reads frames one by one and none is cut.

        Raises:
            DataError: a compressor has left more tokens than it was asked for, and than may be.
        """
        places = self.frames.places[count]
        filled_T = torch.from_numpy(whole_clips(places, self.subject.model.frames_per_group))
        if self.tiling is None or self.frames.grid == WHOLE:
            tokens_MC, lines = self._encode(self.frames.frames_TCHW, filled_T, shared=True)
        else:
            views = self.tiling.views(self.frames.frames_TCHW, self.frames.grid)
            tokens_MC, lines = self.tiling.in_order([self._encode(view, filled_T) for view in views])
        if self.tiling and self.tiling.budget is not None and len(tokens_MC) > self.tiling.budget:
            raise DataError(
                f"the compressor leaves {len(tokens_MC)} visual tokens, more than --token_budget {self.tiling.budget};"
                " give fewer --tiles, or a higher --ratio"
            )
        spanned = self.subject.frames_per_line
        groups = self.subject.inner.groups_of(len(places), self.frames.seen(count).times_s)
        return Shown(tokens_MC[None, None], tuple(lines), spanned, len(places), self.frames.grid, groups)

    def _encode(self, frames_TCHW: Tensor, places_T: Tensor, shared: bool = False) -> tuple[Tensor, Sequence[Line]]:
        """Tokens of the LLM's width (M, C) of some frames, and their `Frame` lines."""
        model = self.subject.steps
        if getattr(model.backbone, "frame_wise", False):
            vision = self._frame_wise(frames_TCHW, places_T, shared)
            with self.subject.autocast():
                return _tokens_and_lines(model.project(model.compress(vision)))
        with self.subject.autocast():
            visual = encode_chunks(
                lambda part: model.project(model.encode(part.to(self.subject.device))),
                frames_TCHW[None, places_T],
                self.subject.inner.clip_frames,
                None if getattr(model.backbone, "whole_video", False) else CLIPS_AT_ONCE,
            )
        return _tokens_and_lines(visual)

    def _frame_wise(self, frames_TCHW: Tensor, places_T: Tensor, shared: bool) -> VisionTokens:
        if not shared:
            return self._backbone(frames_TCHW[places_T])
        if self._vision is None:
            try:
                self._vision = self._backbone(frames_TCHW)
            except torch.OutOfMemoryError:  # of the greatest count, which is not to cost the others
                return self._backbone(frames_TCHW[places_T])
        return self._vision.at(places_T.to(self.subject.device))

    def _backbone(self, frames_TCHW: Tensor) -> VisionTokens:
        parts = []
        for part in frames_TCHW.split(CLIPS_AT_ONCE):
            with self.subject.autocast():
                parts.append(self.subject.steps.backbone(part.to(self.subject.device)[None]))
        return joined(parts)


def _tokens_and_lines(visual: Any) -> tuple[Tensor, Sequence[Line]]:
    """Of what `project` gives of one video."""
    if isinstance(visual, list):
        (video,) = visual
        return video.compressed.tokens_MC, video.lines
    (groups_TNC,) = visual
    return groups_TNC.flatten(0, 1), [(1 + group, groups_TNC.shape[1]) for group in range(len(groups_TNC))]
