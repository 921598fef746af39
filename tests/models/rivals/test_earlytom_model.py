"""EarlyTom in the encoder against a walk through its layers, frame by frame; and in a Video LLM."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.rivals import earlytom
from liteframe.models.rivals.attention_probe import AttentionProbe
from liteframe.models.rivals.earlytom import EarlyTomTeacher, EarlyTomVideoLLM
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.pruners import EarlyTomInside, HoliTomInside
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.frame_merging import frame_likeness, frame_segments, fuse, fused_frames
from tiny_world import host_folder

QUESTIONS = ["color of the star", "color of the first triangle"]
TOKENS = 16  # a projected frame of 112 px
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@lru_cache
def host() -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    return VideoLLM(model.eval(), processor).eval()


def plain() -> InternVLTeacher:
    backbone = host().backbone
    assert isinstance(backbone, InternVLTeacher)
    return backbone


def early(ratio: float = 16.0, **settings: object) -> EarlyTomVideoLLM:
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    teacher = EarlyTomTeacher(plain(), **settings)  # type: ignore[arg-type]
    return EarlyTomVideoLLM(VideoLLM(model.eval(), processor, teacher), ratio).eval()


def frames(count: int = 8, batch: int = 2) -> Tensor:
    """Films that change slowly, so that some frames fuse."""
    random = torch.Generator().manual_seed(0)
    steps = torch.randn(batch, count, 3, 112, 112, generator=random) * torch.rand(
        batch, count, 1, 1, 1, generator=random
    )
    return torch.randn(batch, 1, 3, 112, 112, generator=random) + steps.cumsum(dim=1)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_segments_that_are_all_ends_leave_the_teacher(longest: int) -> None:
    expected = plain()(frames())
    found = EarlyTomTeacher(plain(), after=(2, 3), threshold=-1.0, longest=longest)(frames())
    torch.testing.assert_close(found.tokens_BTHWC, expected.tokens_BTHWC, **CLOSE)
    torch.testing.assert_close(found.cls_BTC, expected.cls_BTC, **CLOSE)
    third_layer = AttentionProbe(InternVLTeacher(plain().vision_tower, feature_layer=3))(frames())
    torch.testing.assert_close(found.cls_attention_BTHW, third_layer.cls_attention_BTHW, **CLOSE)
    assert found.merged is not None
    assert all(video.places == list(range(8)) for video in found.merged)
    assert found.merged[0].segments == [(start, min(8, start + longest)) for start in range(0, 8, longest)]


def test_frames_merge_between_the_layers_as_a_walk_does() -> None:
    """The merging itself has its loops in tests/ops; here it is where it happens, and to what."""
    settings = (0.3, 0.9, 5)
    teacher = EarlyTomTeacher(plain(), after=(1, 3))
    found, tower = teacher(frames()), teacher.vision_tower
    assert found.merged is not None and found.cls_attention_BTHW is not None
    for number, video in enumerate(frames()):
        tokens, places = tower.embeddings(video), list(range(8))
        for depth, layer in enumerate(tower.encoder.layer, start=1):
            normed, attention = layer.layernorm_before(tokens), layer.attention
            queries, keys = (
                norm(project(normed)).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
                for norm, project in ((attention.q_norm, attention.q_proj), (attention.k_norm, attention.k_proj))
            )
            weights = (queries @ keys.transpose(-1, -2) * attention.scale).softmax(dim=-1).mean(dim=1)
            tokens = torch.cat([layer(tokens[frame : frame + 1]) for frame in range(len(tokens))])
            if depth in (1, 3):
                likeness = frame_likeness(tokens[:, 1:], 4)
                left = fused_frames(likeness, frame_segments(likeness, len(tokens), *settings))
                tokens, seen = fuse(tokens, left), fuse(weights[:, 0, 1:], left)
                places = [places[frame.first] for frame in left]
                segments = frame_segments(frame_likeness(tokens[:, 1:], 4), len(tokens), *settings)
        tokens = tower.layernorm(tokens)
        assert len(places) < 7 and found.merged[number].places == places
        assert found.merged[number].segments == segments
        for index, place in enumerate(places):
            for copy in range(place, [*places, 8][index + 1]):
                torch.testing.assert_close(found.tokens_BTHWC[number, copy].flatten(0, 1), tokens[index, 1:], **CLOSE)
                torch.testing.assert_close(found.cls_attention_BTHW[number, copy].flatten(), seen[index], **CLOSE)


def test_long_videos_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = EarlyTomTeacher(plain(), after=(1, 3))
    whole = teacher(frames())
    monkeypatch.setattr(earlytom, "CLIPS_AT_ONCE", 3)
    tower: Any = teacher.vision_tower
    for module in (tower.embeddings, *tower.encoder.layer):
        seen = mock.Mock(wraps=module.forward)
        monkeypatch.setattr(module, "forward", seen)
    found = teacher(frames())
    assert found.merged == whole.merged
    torch.testing.assert_close(found.tokens_BTHWC, whole.tokens_BTHWC, **CLOSE)
    torch.testing.assert_close(found.cls_BTC, whole.cls_BTC, **CLOSE)
    torch.testing.assert_close(found.cls_attention_BTHW, whole.cls_attention_BTHW, **CLOSE)
    for module in (tower.embeddings, *tower.encoder.layer):
        sizes = [len(call.args[0]) for call in module.forward.call_args_list]
        assert max(sizes) == 3 and sum(sizes) <= 16


@pytest.mark.parametrize(
    ("ratio", "threshold", "after"),
    [
        *((100, 0.3, (2, 3)), (10, 0.3, (2, 3)), (8, 0.3, (2, 3)), (1 / 0.15, 0.4, (1, 3)), (6, 0.4, (1, 3))),
        *((5, 0.5, (1, 3)), (4, 0.6, (2, 3)), (1, 0.6, (2, 3))),
    ],
)
def test_settings_are_those_of_the_official_script_at_the_budget(
    ratio: float, threshold: float, after: tuple[int, ...]
) -> None:
    teacher = EarlyTomTeacher(plain(), ratio)  # of 4 layers, behind the last of which nothing merges
    assert (teacher.threshold, teacher.after) == (threshold, after)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"after is \(4,\); frames merge after some of the layers 1 to 3"):
        EarlyTomTeacher(plain(), after=(4,))
    with pytest.raises(ConfigError, match="between layers, of which this encoder runs 1"):
        EarlyTomTeacher(InternVLTeacher(plain().vision_tower, feature_layer=1))
    with pytest.raises(ConfigError, match="threshold"):
        EarlyTomTeacher(plain(), threshold=2.0)
    assert EarlyTomTeacher(plain()).describe() != EarlyTomTeacher(plain(), threshold=0.5).describe()


@pytest.mark.parametrize("ratio", [1.0, 4.0, 16.0])
def test_answers_within_the_budget_and_each_video_for_itself(ratio: float) -> None:
    model = early(ratio)
    vision = model.encode(frames())
    visual = model.project(vision)
    counts, merged = model.token_counts(vision, visual), vision.merged
    assert merged is not None and counts.encoder == 64 * len(merged[0].places) < 64 * 8
    assert counts.asked == 8 * TOKENS // ratio
    assert counts.llm == min(counts.asked, TOKENS * len(merged[0].places))
    assert sum(count for _, count in visual[0].lines) == counts.llm
    assert {line - 1 for line, _ in visual[0].lines} <= {*merged[0].places}
    logits = model.first_answer_logits(visual, [QUESTIONS, QUESTIONS])
    alone = model.project(model.encode(frames()[1:]))
    torch.testing.assert_close(model.first_answer_logits(alone, [QUESTIONS])[0], logits[1], **CLOSE)
    ids = model.prompt_ids(alone, QUESTIONS[0])
    torch.testing.assert_close(model.prefill(alone, ids), logits[1][:1], **CLOSE)


def test_tokens_are_those_of_the_frames_that_are_left() -> None:
    model = early(4.0)
    vision = model.encode(frames(batch=1))
    (video,) = model.project(vision)
    seen = host().project(vision.tokens_BTHWC)[0].flatten(0, 1)
    torch.testing.assert_close(video.compressed.tokens_MC, seen[video.compressed.places_M], **CLOSE)


def test_its_half_inside_the_llm_is_holitoms() -> None:
    before = early(4.0)
    pruned, holitoms = (PrunedVideoLLM(before, pruner) for pruner in (EarlyTomInside(), HoliTomInside()))
    vision = pruned.encode(frames())
    visual = pruned.project(vision)
    counts = pruned.token_counts(vision, visual)
    assert (counts.llm, counts.asked) == (32, 16)
    assert counts.mean_over_layers == pytest.approx((32 + 32 + 16) / 3)
    ours, theirs, whole = (
        torch.cat(model.first_answer_logits(visual, [QUESTIONS, QUESTIONS])) for model in (pruned, holitoms, before)
    )
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, whole, **CLOSE)
    described, alone = pruned.describe(), before.describe()
    assert (described["compressor"], described["ratio"]) == ("earlytom-llm", 8.0)
    assert alone.pop("absent") == "merging inside the LLM" and described["before"] == alone


def test_another_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="EarlyTom needs an EarlyTomTeacher, not InternVLTeacher"):
        EarlyTomVideoLLM(host())
