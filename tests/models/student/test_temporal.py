"""Every temporal mixer is what torch's own layers compute, starts as it should, and leaves other clips alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.temporal import (
    TEMPORAL_MIXERS,
    FullTemporalConv,
    MixerSettings,
    TemporalAttention,
    make_mixer,
)
from liteframe.models.student.vit import TransformerBlock

OWN_WEIGHTS = {  # of every mixer
    "depthwise": {"weight", "bias"},
    "full": {"weight", "bias"},
    "attention": {"norm.weight", "norm.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"},
    "joint": set(),
    "none": set(),
}
WHOLE_CLIP = {"attention", "joint"}
"""Mixers by which a frame sees more than its neighbours."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def config(**changes: Any) -> LiteFrameConfig:
    settings: dict[str, Any] = {
        "image_size": 56,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "output_size": 24,
        "downsample_after": [1, 2],
        "initializer_range": 0.1,
    }
    return LiteFrameConfig(**{**settings, **changes})


def randomise(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def torchs_attention(ours: Any, channels: int, heads: int) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(channels, heads, batch_first=True).eval()
    names = {"in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias}
    theirs.load_state_dict({**names, "out_proj.weight": ours.proj.weight, "out_proj.bias": ours.proj.bias})
    return theirs


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_full_convolution_equals_conv1d(kernel: int) -> None:
    mixer, reference = FullTemporalConv(6, kernel), nn.Conv1d(6, 6, kernel, padding=kernel // 2)
    mixer.load_state_dict(reference.state_dict())
    tokens = torch.randn(3, 4, 5, 6)
    expected = torch.empty_like(tokens)
    for clip in range(3):
        for place in range(5):
            expected[clip, :, place] = tokens[clip, :, place] + reference(tokens[clip, :, place].T[None])[0].T
    torch.testing.assert_close(mixer(tokens), expected)


def test_temporal_attention_equals_multihead_attention_at_each_place() -> None:
    mixer: Any = randomise(TemporalAttention(MixerSettings(12, heads=3)))
    reference = torchs_attention(mixer.attn, 12, 3)
    tokens = torch.randn(2, 4, 5, 12)
    with torch.no_grad():
        for place in range(5):
            normed = functional.layer_norm(tokens[:, :, place], (12,), mixer.norm.weight, mixer.norm.bias, 1e-6)
            expected = tokens[:, :, place] + reference(normed, normed, normed)[0]
            torch.testing.assert_close(mixer(tokens)[:, :, place], expected)


def test_joint_attention_equals_multihead_attention_among_all_tokens_of_the_clip() -> None:
    block: Any = randomise(TransformerBlock(12, 3, 24, frames=4, mixer="joint"))
    reference = torchs_attention(block.attn, 12, 3)
    tokens = torch.randn(2 * 4, 5, 12)
    with torch.no_grad():
        found = block(tokens)
        for clip in range(2):
            row = tokens[4 * clip : 4 * clip + 4].reshape(1, 20, 12)
            normed = block.norm1(row)
            row = row + reference(normed, normed, normed)[0]
            row = row + block.fc2(functional.gelu(block.fc1(block.norm2(row))))
            torch.testing.assert_close(found[4 * clip : 4 * clip + 4], row.view(4, 5, 12))


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_an_encoder_with_it(mixer: str) -> None:
    """It starts as an encoder without a mixer (joint attention aside), then mixes frames of a clip, but no clips."""
    encoder, plain = LiteFrameEncoder(config(temporal_mixer=mixer)), LiteFrameEncoder(config(temporal_mixer="none"))
    positions = {"frame_positions.weight"} if mixer in ("attention", "joint") else set()
    own = {name for name in encoder.state_dict() if ".temporal." in name or "frame" in name}
    assert own == {f"blocks.{block}.temporal.{name}" for block in (0, 1) for name in OWN_WEIGHTS[mixer]} | positions
    plain.load_state_dict({name: value for name, value in encoder.state_dict().items() if name not in own})
    frames = torch.randn(1, 8, 3, 56, 56)
    with torch.no_grad():
        before = encoder.eval()(frames).last_hidden_state
        same = torch.allclose(before, plain.eval()(frames).last_hidden_state, atol=1e-6)
        assert same == (mixer != "joint")
        randomise(encoder)
        changed = frames.clone()
        changed[:, 1] += 1
        first, second = encoder(frames).last_hidden_state, encoder(changed).last_hidden_state
        torch.testing.assert_close(first[:, 1], second[:, 1])
        one_frame = encoder.blocks[0](encoder.patch_embedding(frames[0, :4]))
        other = encoder.blocks[0](encoder.patch_embedding(changed[0, :4]))
    assert torch.allclose(one_frame[3], other[3], atol=1e-6) == (mixer not in WHOLE_CLIP)
    assert torch.allclose(one_frame[2], other[2], atol=1e-6) == (mixer == "none"), "a neighbour in time"


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_it_tells_frames_apart(mixer: str) -> None:
    """A block over the same frames in another order gives more than the same tokens in another order."""
    encoder = randomise(LiteFrameEncoder(config(temporal_mixer=mixer, clip_frames=4)))
    frames = torch.randn(4, 3, 56, 56)

    def after_a_block(order: list[int]) -> torch.Tensor:
        tokens = encoder.patch_embedding(frames[order])  # type: ignore[operator]
        if encoder.frame_positions is not None:
            tokens = encoder.frame_positions(tokens)  # type: ignore[operator]
        return encoder.blocks[0](tokens)  # type: ignore[index]

    with torch.no_grad():
        reordered = after_a_block([0, 1, 2, 3])[[2, 0, 3, 1]]
        assert torch.allclose(after_a_block([2, 0, 3, 1]), reordered, atol=1e-5) == (mixer == "none")


@pytest.mark.parametrize("mixer", TEMPORAL_MIXERS)
def test_it_learns_and_is_saved(mixer: str, tmp_path: Any) -> None:
    encoder = LiteFrameEncoder(config(temporal_mixer=mixer)).train()
    for step in range(2):  # weights behind a zero projection get their gradient once that has moved
        loss = encoder(torch.randn(2, 4, 3, 56, 56)).last_hidden_state.square().mean()
        loss.backward()
        if step == 0:
            torch.optim.SGD(encoder.parameters(), lr=0.1).step()
            encoder.zero_grad()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    encoder.save_pretrained(tmp_path)
    again, frames = LiteFrameEncoder.from_pretrained(tmp_path), torch.randn(1, 4, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(again(frames).last_hidden_state, encoder.eval()(frames).last_hidden_state)


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape(f"temporal_mixer must be one of {sorted(TEMPORAL_MIXERS)}")):
        make_mixer("lstm", MixerSettings(4))
    with pytest.raises(ConfigError, match="temporal_kernel must be odd"):
        FullTemporalConv(4, 2)
