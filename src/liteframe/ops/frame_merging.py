"""Merging whole frames of a video, as EarlyTom does between layers of the image encoder.

Source: Wang et al., "EarlyTom: Early Token Compression Completes Fast Video Understanding" (CVPR 2026, arXiv
2605.30010), stage I; the official repository (viridisGreen/EarlyTom, Apache-2.0) was read, of the paper its abstract
and what others quote. As there, the likeness of two frames is the mean cosine of their tokens at the same positions:

- A segment grows until it has `longest` frames, or the running mean of its frames' likenesses to its first frame falls
  below `threshold`. The mean starts at 1 and is updated with weight `ema`.
- The first and last frame of a segment stay. A frame between them is fused with the next one if these two are more
  alike than the segment's two ends, and more alike than the next frame and the one after it. The weights are the two
  likenesses of consecutive frames, over their sum.
- Where two or more frames lie between the ends, the last of them is dropped.

Decided here: frames are fused only where their likeness is above 0, so that no weight is negative.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Likeness = list[list[float]]
"""``likeness[offset - 1][frame]``: of a frame and the one `offset` frames later."""


class FusedFrame(NamedTuple):
    """A remaining frame: `weight` times frame `first` plus ``1 - weight`` times frame `second`."""

    first: int
    second: int
    weight: float


def frame_likeness(tokens_TNC: Tensor, reach: int) -> Likeness:
    """Mean cosine of the tokens of each two frames at most `reach` apart; one transfer from the device."""
    offsets = range(1, min(reach, tokens_TNC.shape[0] - 1) + 1)
    units_TNC = F.normalize(tokens_TNC.float(), dim=-1)
    rows = [(units_TNC[:-offset] * units_TNC[offset:]).sum(dim=-1).mean(dim=-1) for offset in offsets]
    flat = iter(torch.cat(rows).tolist() if rows else [])
    return [[next(flat) for _ in range(row.shape[0])] for row in rows]


def frame_segments(
    likeness: Likeness, frames: int, threshold: float, ema: float, longest: int
) -> list[tuple[int, int]]:
    """The segments, each as its first frame and the one after its last.

    Args:
        likeness: as `frame_likeness` gives it, for a reach of at least ``longest - 1``.
        frames: of the video.
        threshold, ema, longest: see the module's docstring.
    """
    segments, start, mean = [], 0, 1.0
    for frame in range(1, frames):
        if frame - start < longest:
            mean = ema * likeness[frame - start - 1][start] + (1 - ema) * mean
        if frame - start == longest or mean < threshold:
            segments.append((start, frame))
            start, mean = frame, 1.0
    return [*segments, (start, frames)]


def fused_frames(likeness: Likeness, segments: list[tuple[int, int]]) -> list[FusedFrame]:
    """The remaining frames of all segments, in order."""
    left = []
    for start, end in segments:
        left.append(FusedFrame(start, start, 1.0))
        frame, last = start + 1, end - 2
        if frame == last:
            left.append(FusedFrame(frame, frame, 1.0))
        while frame < last:
            own, following = likeness[0][frame], likeness[0][frame + 1]
            fuses = frame + 1 < last and own > max(likeness[end - start - 2][start], following, 0.0)
            left.append(FusedFrame(frame, frame + fuses, own / (own + max(following, 0.0)) if fuses else 1.0))
            frame += 1 + fuses
        if end - start > 1:
            left.append(FusedFrame(end - 1, end - 1, 1.0))
    return left


def fuse(frames_TX: Tensor, left: list[FusedFrame]) -> Tensor:
    """The remaining frames, fused along the first axis, in the dtype of the frames."""
    first_F, second_F, weight_F = (torch.tensor(part, device=frames_TX.device) for part in zip(*left, strict=True))
    weight_FX = weight_F.float().view(-1, *[1] * (frames_TX.ndim - 1))
    mixed_FX = weight_FX * frames_TX[first_F].float() + (1 - weight_FX) * frames_TX[second_F].float()
    return mixed_FX.to(frames_TX.dtype)
