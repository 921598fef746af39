"""Clips that hold several groups: what a token spans is counted, and what only fills a clip up is cut off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.models.backbone import Dense, Pool
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.from_teacher import default_clip, place_strides
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.ops.pooling import average_pool
from tiny_world import ENCODER, host_folder

CLIPS = [(8, (4, 2, 2)), (4, (2, 2, 2)), (8, (2, 2, 2)), (4, (1, 2, 2)), (4, (4, 2, 2))]


def encoder(clip: int, stride: tuple[int, int, int], **changes: Any) -> LiteFrameEncoder:
    after, strides = place_strides(stride, (1, 2))
    placed = {"clip_frames": clip, "downsample_after": after, "downsample_strides": strides}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, **placed, **changes})).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def video(frames: int, size: int = 112) -> Tensor:
    return torch.randn(2, frames, 3, size, size, generator=torch.Generator().manual_seed(1))


def filled(frames_BTCHW: Tensor, clip: int) -> Tensor:
    missing = -frames_BTCHW.shape[1] % clip
    return torch.cat([frames_BTCHW, frames_BTCHW[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)


@pytest.mark.parametrize(("clip", "stride"), CLIPS)
@pytest.mark.parametrize("frames", [1, 3, 8, 13])
def test_a_video_is_its_clips_by_hand_without_the_groups_that_fill_up(
    clip: int, stride: tuple[int, int, int], frames: int
) -> None:
    model = encoder(clip, stride)
    with torch.no_grad():
        found = model(video(frames)).last_hidden_state
        clips = [model(part).last_hidden_state for part in filled(video(frames), clip).split(clip, dim=1)]
        model.save_memory(chunk_clips=1)
        chunked = model(video(frames)).last_hidden_state
    groups = -(-frames // stride[0])
    assert found.shape == (2, groups, 8 // stride[1], 8 // stride[2], 128)
    torch.testing.assert_close(found, torch.cat(clips, dim=1)[:, :groups], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, chunked, rtol=1e-4, atol=1e-5)


def test_a_longer_clip_is_not_two_short_ones() -> None:
    with torch.no_grad():
        long = encoder(8, (4, 2, 2))(video(8)).last_hidden_state
        short = encoder(4, (4, 2, 2))(video(8)).last_hidden_state
    assert long.shape == short.shape and (long - short).abs().max() > 1e-2


@pytest.mark.parametrize(("clip", "stride"), CLIPS)
@pytest.mark.parametrize("frames", [4, 6, 13])
def test_frames_that_pad_change_nothing_for_the_llm(clip: int, stride: tuple[int, int, int], frames: int) -> None:
    host, processor = load_base_vlm(str(host_folder()), "eager")
    model = VideoLLM(host, processor, LiteFrameBackbone(encoder(clip, stride))).eval()
    assert (model.frames_per_group, model.clip_frames) == (stride[0], clip)
    groups = model.groups(torch.tensor([frames]))[0]
    assert groups == -(-frames // stride[0])
    with torch.no_grad():
        plain = model.project(model.encode(video(frames)))
        padded = model.project(model.encode(filled(video(frames), 16)))
        assert plain.shape[1] == groups <= padded.shape[1]
        torch.testing.assert_close(plain, padded[:, :groups], rtol=1e-4, atol=1e-5)
        talk = [[("color of the star", "red")]] * 2
        alone, labels, _ = model.answer_logits(talk, plain, [groups] * 2)
        together, same, _ = model.answer_logits(talk, padded, [groups] * 2)
    assert torch.equal(labels, same)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


def test_a_dense_student_is_compressed_afterwards_as_the_teacher_is() -> None:
    """Standard distillation: a plain ViT that keeps every token, and a compressor behind it."""
    host, processor = load_base_vlm(str(host_folder()), "eager")
    student = LiteFrameBackbone(encoder(1, (1, 1, 1), output_size=128))
    model = VideoLLM(host, processor, student, Pool("average", (4, 2, 2))).eval()
    assert (model.frames_per_group, model.clip_frames, student.frame_wise) == (4, 4, True)
    assert VideoLLM(host, processor, student, Dense()).frames_per_group == 1
    with torch.no_grad():
        visual = model.project(model.encode(video(8)))
        dense = student.encoder(video(8)).last_hidden_state
        torch.testing.assert_close(visual, model.project(average_pool(dense, (4, 2, 2))))
        prefix, rest = model.prompts.question_ids("color of the star", *visual.shape[1:3])
        assert visual.shape[:3] == (2, 2, 4) and model.prefill(visual, prefix + rest).isfinite().all()
    behind = VideoLLM(host, processor, LiteFrameBackbone(encoder(4, (2, 2, 2))), Pool("max", (2, 1, 1)))
    assert behind.frames_per_group == 4, "what a token spans, times what becomes one"


@pytest.mark.parametrize(
    ("stride", "places", "after", "strides"),
    [
        ((4, 2, 2), (4, 8), [4, 8], [[2, 2, 2], [2, 1, 1]]),
        ((8, 2, 2), (4, 8), [4, 8], [[2, 2, 2], [4, 1, 1]]),
        ((2, 2, 2), (4, 8), [4], [[2, 2, 2]]),
        ((1, 2, 2), (4, 8), [4], [[1, 2, 2]]),
        ((1, 1, 1), (4, 8), [], []),
        ((1, 1, 1), (), [], []),
        ((4, 2, 2), (1,), [1], [[4, 2, 2]]),
        ((8, 2, 2), (1, 2, 3), [1, 2, 3], [[2, 2, 2], [2, 1, 1], [2, 1, 1]]),
        ((3, 2, 2), (1, 2), [1, 2], [[1, 2, 2], [3, 1, 1]]),
        ((3, 1, 1), (1, 2), [2], [[3, 1, 1]]),
    ],
)
def test_strides_follow_from_what_a_token_stands_for(stride: Any, places: Any, after: Any, strides: Any) -> None:
    assert place_strides(stride, places) == (after, strides)


def test_the_clip_is_the_papers_where_tokens_fill_it() -> None:
    assert [default_clip(frames) for frames in (1, 2, 3, 4, 6, 8)] == [4, 4, 3, 4, 6, 8]
