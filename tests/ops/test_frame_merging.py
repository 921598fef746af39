"""EarlyTom's merging of frames against loops over frames and tokens."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import Tensor

from liteframe.ops.frame_merging import FusedFrame, frame_likeness, frame_segments, fuse, fused_frames

SETTINGS = [(0.3, 0.9, 5), (0.6, 0.9, 5), (0.8, 0.5, 7), (0.9, 0.9, 3)]


def drifting(frames: int, change: float = 0.5, seed: int = 0) -> Tensor:
    """A video whose frames move away from each other, now faster, now slower."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.randn(frames, 6, 4, generator=random) * torch.rand(frames, 1, 1, generator=random) * change
    return torch.randn(1, 6, 4, generator=random) + steps.cumsum(dim=0)


def alike(one: Tensor, other: Tensor) -> float:
    cosines = [float(torch.nn.functional.cosine_similarity(a, b, dim=0)) for a, b in zip(one, other, strict=True)]
    return sum(cosines) / len(cosines)


def loop_segments(video: Tensor, threshold: float, ema: float, longest: int) -> list[list[int]]:
    segments, running = [[0]], 1.0
    for frame in range(1, len(video)):
        running = ema * alike(video[segments[-1][0]], video[frame]) + (1 - ema) * running
        if running < threshold or len(segments[-1]) == longest:
            segments.append([])
            running = 1.0
        segments[-1].append(frame)
    return segments


def loop_merged(video: Tensor, segments: list[list[int]]) -> list[Tensor]:
    left = []
    for segment in segments:
        if len(segment) <= 3:
            left += [video[frame] for frame in segment]
            continue
        first, *between, last = segment
        left.append(video[first])
        # The last frame between the ends is only ever compared with.
        between, dropped = between[:-1], between[-1]
        while between:
            frame, following = between[0], [*between[1:], dropped]
            own = alike(video[frame], video[following[0]])
            if len(following) > 1 and own > alike(video[first], video[last]):
                after = alike(video[following[0]], video[following[1]])
                if own > after:
                    left.append((own * video[frame] + after * video[following[0]]) / (own + after))
                    between = between[2:]
                    continue
            left.append(video[frame])
            between = between[1:]
        left.append(video[last])
    return left


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 17])
@pytest.mark.parametrize("settings", SETTINGS)
def test_segments_and_fused_frames_equal_loops(frames: int, settings: tuple[float, float, int]) -> None:
    fused = 0
    for seed in range(4):
        video = drifting(frames, seed=seed)
        likeness = frame_likeness(video, settings[2])
        segments = frame_segments(likeness, frames, *settings)
        expected = loop_segments(video, *settings)
        assert [list(range(start, end)) for start, end in segments] == expected
        left = fused_frames(likeness, segments)
        torch.testing.assert_close(fuse(video, left), torch.stack(loop_merged(video, expected)))
        fused += sum(frame.first != frame.second for frame in left)
    assert fused or frames < 17 or settings[2] < 5, "the test sees frames that fuse"


def test_a_still_video_keeps_the_ends_of_its_longest_segments() -> None:
    video = torch.ones(10, 6, 4)
    likeness = frame_likeness(video, 4)
    segments = frame_segments(likeness, 10, 0.9, 0.9, 5)
    assert segments == [(0, 5), (5, 10)]
    # Nothing is more alike than the ends are, so nothing fuses; the last frame in between goes.
    assert [frame.first for frame in fused_frames(likeness, segments)] == [0, 1, 2, 4, 5, 6, 7, 9]


def test_frames_that_point_away_from_each_other_have_no_negative_weight() -> None:
    likeness = [[-0.9, 0.8, -0.5, -0.9], [0.0] * 3, [0.0] * 2, [-0.95]]
    left = fused_frames(likeness, [(0, 5)])
    assert left == [FusedFrame(0, 0, 1.0), FusedFrame(1, 2, 1.0), FusedFrame(4, 4, 1.0)]
    likeness[0] = [-0.9, -0.5, -0.8, -0.9]
    assert all(frame.first == frame.second for frame in fused_frames(likeness, [(0, 5)]))


def test_tokens_are_normalised_once() -> None:
    with mock.patch("torch.nn.functional.normalize", wraps=torch.nn.functional.normalize) as normalize:
        frame_likeness(drifting(9), 4)
    assert normalize.call_count == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fusing_keeps_the_dtype_and_copies_what_it_does_not_mix(dtype: torch.dtype) -> None:
    video = drifting(4).to(dtype)
    fused = fuse(video, [FusedFrame(0, 0, 1.0), FusedFrame(1, 2, 0.75)])
    assert fused.dtype == dtype and torch.equal(fused[0], video[0])
    torch.testing.assert_close(fused[1], (0.75 * video[1].float() + 0.25 * video[2].float()).to(dtype))
