"""Chunks hold whole clips, no more than were asked for, and every token comes back to its place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from liteframe.models.clip_chunks import encode_chunks, encode_equal_chunks


@pytest.mark.parametrize("chunk_clips", [None, 1, 2, 3, 5, 100])
@pytest.mark.parametrize(("batch", "frames"), [(1, 3), (3, 8), (5, 4), (2, 18)])
def test_tokens_are_those_of_each_clip_by_itself(batch: int, frames: int, chunk_clips: int | None) -> None:
    clip_frames, seen = 4, []

    def encode(frames_BTCHW: Tensor) -> Tensor:
        """Two tokens a clip, of its first and last frame."""
        clips = [clip.flatten(2)[..., 0] for clip in frames_BTCHW.split(clip_frames, 1)]
        seen.append(len(frames_BTCHW) * len(clips))
        return torch.cat([torch.stack([clip[:, 0], clip[:, -1]], 1) for clip in clips], 1)

    videos = torch.arange(batch * frames).view(batch, frames, 1, 1, 1)
    starts = range(0, frames, clip_frames)
    kept = [at for start in starts for at in (start, min(start + clip_frames, frames) - 1)]
    expected = torch.tensor([[video * frames + at for at in kept] for video in range(batch)])
    assert torch.equal(encode_chunks(encode, videos, clip_frames, chunk_clips), expected)
    clips = batch * -(-frames // clip_frames)
    assert sum(seen) == clips and max(seen) <= (chunk_clips or clips)
    assert len(seen) == 1 or chunk_clips is not None


@pytest.mark.parametrize("chunk_clips", [1, 2, 3, 100])
@pytest.mark.parametrize(("batch", "frames"), [(1, 3), (3, 8), (5, 4), (2, 18)])
def test_equal_chunks_have_one_shape_and_give_the_same(batch: int, frames: int, chunk_clips: int) -> None:
    shapes = []

    def encode(clips_NTCHW: Tensor) -> Tensor:
        """A token for each two frames."""
        shapes.append(tuple(clips_NTCHW.shape))
        return clips_NTCHW.unflatten(1, (-1, 2)).flatten(2).sum(-1, dtype=torch.int64)

    videos = torch.arange(batch * frames).view(batch, frames, 1, 1, 1)
    filled = torch.cat([videos, videos[:, -1:].expand(-1, -frames % 4, -1, -1, -1)], dim=1)
    expected = filled.unflatten(1, (-1, 2)).flatten(2).sum(-1)
    assert torch.equal(encode_equal_chunks(encode, videos, 4, chunk_clips), expected)
    assert set(shapes) == {(chunk_clips, 4, 1, 1, 1)}
    assert len(shapes) == -(-batch * -(-frames // 4) // chunk_clips), "no more chunks than it takes"
