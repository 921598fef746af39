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


def encode_equal_chunks(
    encode: Callable[[Tensor], Tensor], frames_BTCHW: Tensor, clip_frames: int, chunk_clips: int
) -> Tensor:
    """As `encode_chunks`, in chunks that all have one shape, so that one compiled graph serves any number of frames.

    The last clip of a video is filled up with its last frame, the last chunk with its last clip; what comes of clips
    that fill up is cut off.

    Args:
        encode: of `chunk_clips` clips, (N, clip_frames, ...) to (N, T', ...).
        frames_BTCHW: pixels.
        clip_frames: frames of a clip.
        chunk_clips: clips at a time.
    """

    def encode_filled(clips_NTCHW: Tensor) -> Tensor:
        return encode(filled_up(clips_NTCHW, chunk_clips - len(clips_NTCHW), axis=0))[: len(clips_NTCHW)]

    return encode_clips(encode_filled, frames_BTCHW, clip_frames, chunk_clips)


def encode_clips(
    encode: Callable[[Tensor], Tensor], frames_BTCHW: Tensor, clip_frames: int, chunk_clips: int
) -> Tensor:
    """As `encode_chunks`, in chunks that differ in nothing but their number of clips: that many shapes at most.

    Args:
        encode: of up to `chunk_clips` clips, (N, clip_frames, ...) to (N, T', ...).
        frames_BTCHW: pixels; the last clip of a video is filled up with its last frame.
        clip_frames: frames of a clip.
        chunk_clips: clips at a time.
    """
    batch, frames = frames_BTCHW.shape[:2]
    clips_NTCHW = filled_up(frames_BTCHW, -frames % clip_frames, axis=1).unflatten(1, (-1, clip_frames)).flatten(0, 1)
    features = torch.cat([encode(part) for part in clips_NTCHW.split(chunk_clips)])
    return features.unflatten(0, (batch, -1)).flatten(1, 2)


def filled_up(tensor: Tensor, missing: int, axis: int) -> Tensor:
    """The tensor with so many copies of its last part along an axis behind it."""
    if missing == 0:
        return tensor
    last = tensor.narrow(axis, -1, 1)
    return torch.cat([tensor, last.expand(*(missing if a == axis else -1 for a in range(tensor.ndim)))], dim=axis)
