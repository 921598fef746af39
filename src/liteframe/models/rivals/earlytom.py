"""EarlyTom: frames merge between the image encoder's layers, and the LLM sees few tokens of the remaining frames.

Source: Wang et al., "EarlyTom: Early Token Compression Completes Fast Video Understanding" (CVPR 2026, arXiv
2605.30010); see `ops.frame_merging` and `ops.compressors.earlytom` for its two stages. The settings are those of the
official script for LLaVA-Video on Video-MME: segments of 5 frames at most, and by budget a threshold and the layers
after which frames merge.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.backbone import MergedFrames, VisionTokens
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.rivals.attention_probe import class_attention, queries_and_keys
from liteframe.models.rivals.changed_internvit import ChangedInternVLTeacher
from liteframe.models.rivals.uneven import CompressedVideo, UnevenVideoLLM, shuffled
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.earlytom import earlytom
from liteframe.ops.compressors.features import Features, check_count, check_share
from liteframe.ops.compressors.official import Official
from liteframe.ops.frame_merging import FusedFrame, Likeness, frame_likeness, frame_segments, fuse, fused_frames

_SCRIPTED = (
    (0.10, 0.3, (11, 22, 24)),
    (0.15, 0.4, (9, 22, 24)),
    (0.20, 0.5, (9, 22, 24)),
    (0.25, 0.6, (11, 22, 24)),
)
"""Of the official script: share of the tokens that the LLM is shown, threshold, and layers of 26 to merge after."""


class EarlyTomTeacher(ChangedInternVLTeacher):
    """An `InternVLTeacher` that merges frames between its layers.

    Tokens come back on the full grid: a frame that was dropped, or fused into the one before it, holds a copy of the
    last remaining frame. `VisionTokens.merged` lists the remaining frames. `cls_attention_BTHW` comes from the layer of
    the last merge and is fused with the frames.

    Args:
        teacher: shares its modules.
        ratio: of all tokens to those that the LLM is shown. It chooses the defaults of `after` and `threshold`: those
            of the official script at its largest budget that leaves no more tokens, or else at its smallest.
        after: the layers, counted from 1, after which frames merge; None scales the script's to this depth, and leaves
            at least one layer after them.
        threshold: a segment ends where the running mean of likenesses falls below it; None is the script's.
        ema: weight of a frame's likeness in that mean.
        longest: most frames of a segment.

    Raises:
        ConfigError: a setting out of range, or an encoder of fewer than 2 layers.
    """

    frame_wise = False
    whole_video = True
    """A frame's tokens depend on the other frames of its video, so a video cannot be encoded in parts."""

    def __init__(
        self,
        teacher: InternVLTeacher,
        ratio: float = 16.0,
        after: tuple[int, ...] | None = None,
        threshold: float | None = None,
        ema: float = 0.9,
        longest: int = 5,
    ) -> None:
        super().__init__(teacher)
        layers = self.layers_run
        if layers < 2:
            raise ConfigError(f"EarlyTom merges frames between layers, of which this encoder runs {layers}")
        _, scripted, depths = max((row for row in _SCRIPTED if row[0] * ratio <= 1), default=_SCRIPTED[0])
        threshold = scripted if threshold is None else threshold
        if after is None:
            after = tuple(sorted({min(layers - 1, max(1, round(layers * depth / 26))) for depth in depths}))
        if not after or list(after) != sorted({*after}) or not 1 <= after[0] <= after[-1] < layers:
            raise ConfigError(
                f"after is {after}; frames merge after some of the layers 1 to {layers - 1}, in their order"
            )
        check_share("threshold", threshold, -1.0)
        check_share("ema", ema)
        check_count("longest", longest)
        self.after, self.threshold, self.ema, self.longest = after, threshold, ema, longest

    @property
    def reduction(self) -> dict[str, Any]:
        """How tokens become fewer inside, for a record."""
        settings = {name: getattr(self, name) for name in ("threshold", "ema", "longest")}
        return {"inside": "earlytom", "after": list(self.after), **settings}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self.reduction}

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Tokens (B, T, H, W, C) and class tokens (B, T, C) of every frame, with copies where frames were merged."""
        B, T = frames_BTCHW.shape[:2]
        tokens_FNC = frames_BTCHW.flatten(0, 1)
        places = [list(range(T)) for _ in range(B)]
        for before, depth in pairwise((0, *self.after)):
            tokens_FNC, attention_FN = self._through(tokens_FNC, before, depth)
            left, places = self._left(tokens_FNC, places)
            tokens_FNC, attention_FN = fuse(tokens_FNC, left), fuse(attention_FN, left)
        segments = [self._segments(own_TNC)[1] for own_TNC in tokens_FNC.split(_sizes(places))]
        tokens_FNC, _ = self._through(tokens_FNC, self.after[-1], self.layers_run)
        tokens_FNC = self.last_norm(tokens_FNC)
        index_M = torch.tensor(_of_every_frame(places, T), device=tokens_FNC.device)
        tokens_MNC = tokens_FNC[index_M]
        return VisionTokens(
            tokens_BTHWC=tokens_MNC[:, 1:].reshape(B, *grid, -1),
            cls_BTC=tokens_MNC[:, 0].reshape(B, T, -1),
            cls_attention_BTHW=attention_FN[index_M].reshape(B, *grid),
            merged=tuple(map(MergedFrames, places, segments)),
        )

    def _through(self, frames_FX: Tensor, before: int, depth: int) -> tuple[Tensor, Tensor]:
        """Tokens (F, 1 + N, C) after the layers after `before` up to `depth`, and the class attention of the last.

        In chunks of frames, which do not see each other between two mergings.

        Args:
            frames_FX: tokens that go into these layers; pixels (F, C, H, W), which are embedded first, before layer 1.
            before, depth: numbers of layers, counted from 1.
        """
        tower: Any = self.vision_tower
        layers = tower.encoder.layer[before:depth]
        tokens, attentions = [], []
        for part in frames_FX.split(CLIPS_AT_ONCE):
            part_FNC = part if before else tower.embeddings(part)
            with queries_and_keys(layers[-1].attention) as caught:
                for layer in layers:
                    part_FNC = layer(part_FNC)
            tokens.append(part_FNC)
            attentions.append(class_attention(layers[-1].attention, caught))
        return torch.cat(tokens), torch.cat(attentions)

    def _left(self, tokens_FNC: Tensor, places: list[list[int]]) -> tuple[list[FusedFrame], list[list[int]]]:
        """The remaining frames of all videos in a row, and their positions within each video."""
        left, new_places, before = list[FusedFrame](), [], 0
        for own_TNC, place in zip(tokens_FNC.split(_sizes(places)), places, strict=True):
            own = fused_frames(*self._segments(own_TNC))
            left += [FusedFrame(before + first, before + second, weight) for first, second, weight in own]
            new_places.append([place[frame.first] for frame in own])
            before += len(place)
        return left, new_places

    def _segments(self, tokens_TNC: Tensor) -> tuple[Likeness, list[tuple[int, int]]]:
        likeness = frame_likeness(tokens_TNC[:, 1:], max(1, self.longest - 1))
        return likeness, frame_segments(likeness, len(tokens_TNC), self.threshold, self.ema, self.longest)


def _sizes(places: list[list[int]]) -> list[int]:
    return [len(place) for place in places]


def _of_every_frame(places: list[list[int]], frames: int) -> list[int]:
    """For each frame of each video, the index among all remaining frames of the last one at or before it."""
    index, before = [], -1
    for standing in map(set, places):
        for frame in range(frames):
            before += frame in standing
            index.append(before)
    return index


class EarlyTomVideoLLM(UnevenVideoLLM):
    """A Video LLM that merges frames inside its encoder and selects tokens of the remaining frames after it.

    Args:
        inner: the Video LLM; its backbone must be an `EarlyTomTeacher`, and nothing compressed after it.
        ratio: of the tokens of all frames to those that the LLM sees.

    Raises:
        ConfigError: a ratio below 1, a backbone of another kind, or a compressor in `inner`.
    """

    official = Official(
        "segments of the video, in the encoder and after it",
        "class attention stands in for SigLIP's mean over queries, InternVL's pixel shuffle for the pooling of 2 x 2;"
        " threshold and depths are those of the script for LLaVA-Video on Video-MME at its largest budget that is not"
        " above ours; budgets are shared exactly",
        "not measured",
    )
    """How it stands to its authors' code."""
    absent = "merging inside the LLM"
    """What the official scripts do besides, and this does not, see `pruners.EarlyTomInside`."""

    def __init__(self, inner: VideoLLM, ratio: float = 16.0) -> None:
        super().__init__(inner, "EarlyTom", ratio)
        if not isinstance(inner.backbone, EarlyTomTeacher):
            raise ConfigError(f"EarlyTom needs an EarlyTomTeacher, not {type(inner.backbone).__name__}")

    def project(self, vision: VisionTokens) -> list[CompressedVideo]:
        """Projects the tokens of the remaining frames, then selects some of each video."""
        assert vision.merged is not None and vision.cls_attention_BTHW is not None
        ratio, tokens = self.inner.downsample_ratio, vision.tokens_BTHWC
        salience = shuffled(vision.cls_attention_BTHW[..., None], ratio).sum(dim=(-2, -1))
        videos = []
        for number, merged in enumerate(vision.merged):
            places_F = torch.tensor(merged.places, device=tokens.device)
            visual_1FNC = self.inner.project(tokens[number : number + 1, places_F])
            grid_FHWC = visual_1FNC[0].unflatten(1, salience.shape[2:])
            features = Features(grid_FHWC, cls_attention_THW=salience[number, places_F])
            count = grid_FHWC.shape[1:3].numel()
            asked = self.asked(tokens.shape[1] * count)
            left = earlytom(features, min(asked, features.count), merged.segments)
            frame_M, place_M = left.places_M // count, left.places_M % count
            left = replace(left, places_M=places_F[frame_M] * count + place_M, asked=asked)
            videos.append(self._in_lines(left, count))
        return videos

    def token_counts(self, vision: VisionTokens, visual: list[CompressedVideo]) -> TokenCounts:
        """Of the first video; only its remaining frames leave the encoder."""
        assert vision.merged is not None
        frames = len(vision.merged[0].places)
        return replace(super().token_counts(vision, visual), encoder=frames * vision.tokens_BTHWC.shape[2:4].numel())

    def describe(self) -> dict[str, Any]:
        """For a record."""
        assert isinstance(self.backbone, EarlyTomTeacher)
        reduction = self.backbone.reduction
        return {
            "compressor": "earlytom",
            **reduction,
            "ratio": self.ratio,
            "on": "projected tokens",
            "absent": self.absent,
        }
