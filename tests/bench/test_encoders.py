"""Every encoder of the comparison: tokens at real size, and the protocol of backbones."""

from __future__ import annotations

import pytest
import torch

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.real_size.shapes import shapes
from liteframe.errors import ConfigError
from liteframe.models.student.encoder_config import PRESETS
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.video_llm.model import LiteFrameBackbone

TOKENS = {
    "teacher": (4, 32, 32, 1024),
    "teacher+wap": (1, 16, 16, 1024),
    "student": (1, 16, 16, 1024),
    **{f"student-{preset}": (1, 16, 16, 1024) for preset in ("fast", "faster", "large")},
    "tome-teacher+wap": (1, 16, 16, 1024),
    "autogaze": (1, 2, 196, 1024),
    "vit-b": (4, 32, 32, 1024),
    "fastvit": (4, 7, 7, 3072),
    "fastvit-1024": (4, 16, 16, 3072),
    "mobilenet-v5": (4, 16, 16, 2048),
    "mobilenet-v5-768": (4, 16, 16, 2048),
    "video-panda": (4, 1, 273, 1024),
}
"""Of a clip of 4 frames, after the method's compression."""


def test_every_method_but_the_mixers_has_its_tokens_here() -> None:
    assert set(TOKENS) == {name for name, method in ENCODERS.items() if method.group != "mixer"}


@torch.inference_mode()
@pytest.mark.parametrize("name", TOKENS)
def test_tokens_at_real_size(name: str) -> None:
    method, real = ENCODERS[name], shapes("real", "internvl3-8b")
    side, width = method.image_size(real), TOKENS[name][-1]
    merges = name == "tome-teacher+wap"
    if merges:  # which tokens are alike is unknown on meta, so a thin teacher runs in earnest
        vision = real.vision
        vision.hidden_size, vision.intermediate_size, vision.num_attention_heads, width = 16, 16, 1, 16
    with torch.device("cpu" if merges else "meta"):
        found = tuple(method.compressor(method.make(real).eval()(torch.rand(1, 4, 3, side, side))).shape[1:])
    assert found == (*TOKENS[name][:-1], width)
    # A pixel shuffle halves both sides of the grid, so an odd one goes without.
    assert not method.shuffle or found[1] % 2 == 0


@torch.inference_mode()
@pytest.mark.parametrize("name", ENCODERS)
def test_every_method_is_a_backbone(name: str) -> None:
    method, tiny = ENCODERS[name], shapes("tiny", "")
    side, backbone = method.image_size(tiny), method.make(tiny).eval()
    tokens_BTHWC = method.compressor(backbone(torch.randn(2, 4, 3, side, side)))
    assert tokens_BTHWC.ndim == 5
    assert tokens_BTHWC.shape[0] == 2
    assert tokens_BTHWC.shape[1] == -(-4 // (method.frames_per_group or method.compressor.frames_per_group))


def test_every_mixer_and_preset_is_a_method_and_the_plain_vit_has_neither_mixers_nor_strides() -> None:
    mixers, presets = set(TEMPORAL_MIXERS) - {"depthwise"}, set(PRESETS) - {"paper"}
    assert {name for name in ENCODERS if name.startswith("student-")} == {f"student-{n}" for n in mixers | presets}
    plain = ENCODERS["vit-b"].make(shapes("tiny", ""))
    assert isinstance(plain, LiteFrameBackbone)
    assert not plain.encoder.downsamples
    assert all(block.temporal is None for block in plain.encoder.blocks)


def test_an_unknown_size_is_named() -> None:
    with pytest.raises(ConfigError, match="size must be one of real, tiny, got 'huge'"):
        shapes("huge", "internvl3-8b")
