"""Every encoder of the comparison: tokens at real size, and the protocol of backbones."""

from __future__ import annotations

import pytest
import torch

from liteframe.bench.encoder_arms import ENCODER_ARMS
from liteframe.bench.real_size.shapes import shapes
from liteframe.errors import ConfigError
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.video_llm.model import LiteFrameBackbone

TOKENS = {
    "teacher": (4, 32, 32, 1024),
    "teacher+wap": (1, 16, 16, 1024),
    "student": (1, 16, 16, 1024),
    "tome-teacher+wap": (1, 16, 16, 1024),
    "vit-b": (4, 32, 32, 1024),
    "fastvit": (4, 7, 7, 3072),
    "fastvit-1024": (4, 16, 16, 3072),
    "mobilenet-v5": (4, 16, 16, 2048),
    "mobilenet-v5-768": (4, 16, 16, 2048),
}
"""Of a clip of 4 frames, after the arm's compression."""


def test_every_arm_but_the_mixers_has_its_tokens_here() -> None:
    assert set(TOKENS) == {name for name, arm in ENCODER_ARMS.items() if arm.group != "mixer"}


@torch.inference_mode()
@pytest.mark.parametrize("name", TOKENS)
def test_tokens_at_real_size(name: str) -> None:
    arm, real = ENCODER_ARMS[name], shapes("real", "internvl3-8b")
    side, width = arm.image_size(real), TOKENS[name][-1]
    merges = name == "tome-teacher+wap"
    if merges:  # which tokens are alike is unknown on meta, so a thin teacher runs in earnest
        vision = real.vision
        vision.hidden_size, vision.intermediate_size, vision.num_attention_heads, width = 16, 16, 1, 16
    with torch.device("cpu" if merges else "meta"):
        found = tuple(arm.compressor(arm.make(real).eval()(torch.rand(1, 4, 3, side, side))).shape[1:])
    assert found == (*TOKENS[name][:-1], width)
    # A pixel shuffle halves both sides of the grid, so an odd one goes without.
    assert not arm.shuffle or found[1] % 2 == 0


@torch.inference_mode()
@pytest.mark.parametrize("name", ENCODER_ARMS)
def test_every_arm_is_a_backbone(name: str) -> None:
    arm, tiny = ENCODER_ARMS[name], shapes("tiny", "")
    side, backbone = arm.image_size(tiny), arm.make(tiny).eval()
    tokens_BTHWC = arm.compressor(backbone(torch.randn(2, 4, 3, side, side)))
    assert tokens_BTHWC.ndim == 5
    assert tokens_BTHWC.shape[0] == 2
    assert tokens_BTHWC.shape[1] == 4 // (arm.frames_per_group or arm.compressor.frames_per_group)


def test_every_mixer_is_an_arm_and_the_plain_vit_has_neither_mixers_nor_strides() -> None:
    assert {name for name in ENCODER_ARMS if name.startswith("student-")} == {
        f"student-{mixer}" for mixer in set(TEMPORAL_MIXERS) - {"depthwise"}
    }
    plain = ENCODER_ARMS["vit-b"].make(shapes("tiny", ""))
    assert isinstance(plain, LiteFrameBackbone)
    assert not plain.encoder.downsamples
    assert all(block.temporal is None for block in plain.encoder.blocks)


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(ConfigError, match="size must be one of real, tiny, got 'huge'"):
        shapes("huge", "internvl3-8b")
