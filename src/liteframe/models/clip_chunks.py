"""Videos in chunks of whole clips: clips do not see each other, so chunks bound the memory and change no token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CLIPS_AT_ONCE = 16
"""Clips that are encoded together where answers are asked for and nothing else is said."""


def encode_chunks(
    encode: Callable[[Tensor], Tensor], frames_BTCHW: Tensor, clip_frames: int, chunk_clips: int | None
) -> Tensor:
    """What `encode` gives of videos, as (B, T', ...), a few of their clips at a time.

    Args:
        encode: of some videos, or of some whole clips of one.
        frames_BTCHW: pixels; the last clip of a video may be short.
        clip_frames: frames of a clip.
        chunk_clips: clips at a time, of one video or of several; None is all.
    """
    batch, frames = frames_BTCHW.shape[:2]
    clips = -(-frames // clip_frames)
    if chunk_clips is None or chunk_clips >= batch * clips:
        return encode(frames_BTCHW)
    return torch.cat(
        [
            torch.cat([encode(part) for part in videos.split(chunk_clips * clip_frames, 1)], dim=1)
            for videos in frames_BTCHW.split(max(1, chunk_clips // clips))
        ]
    )
