"""Students of other shapes than the paper's: tubelets, narrow stages, and strides before the first block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.from_teacher import student_fields
from liteframe.models.student.init_from_timm import load_timm_weights

SIDE, GRID = 56, 4
BASE: dict[str, Any] = {
    "image_size": SIDE,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "output_size": 24,
    "downsample_after": [1, 2],
}
TUBELETS = {"tubelet_frames": 2, "downsample_strides": [[1, 2, 2], [2, 1, 1]]}
NARROW = {"early_hidden_sizes": [16, 24]}
SHAPES = {
    "tubelets": TUBELETS,
    "narrow": NARROW,
    "sooner": {"downsample_after": [0, 2]},
    "all of it": {**TUBELETS, **NARROW, "downsample_after": [0, 1]},
    "tubelets of four": {"tubelet_frames": 4, "downsample_after": [1], "downsample_strides": [[1, 2, 2]]},
}


def make(**changes: Any) -> LiteFrameEncoder:
    """An encoder none of whose weights has the neutral value that it starts with."""
    torch.manual_seed(0)
    encoder = LiteFrameEncoder(LiteFrameConfig(**{**BASE, **changes})).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def video(frames: int = 8) -> Tensor:
    return torch.randint(0, 256, (2, frames, 3, SIDE, SIDE), dtype=torch.uint8)


@torch.no_grad()
def encode(encoder: LiteFrameEncoder, frames: Tensor) -> Tensor:
    return encoder(frames).last_hidden_state


@torch.no_grad()
def by_hand(encoder: LiteFrameEncoder, clip_THWC: Tensor) -> Tensor:
    """Tokens (H', W', C) of a clip of 4 normalised frames, by 3-D convolutions and attention of timm's formula."""
    weights, config = encoder.state_dict(), encoder.config
    flat = weights["patch_embedding.projection.weight"]
    kernel = flat.unflatten(1, (config.tubelet_frames, 3)).transpose(1, 2)
    grid = F.conv3d(
        clip_THWC.transpose(0, 1)[None], kernel, weights["patch_embedding.projection.bias"], kernel.shape[2:]
    )
    tokens = grid[0].permute(1, 2, 3, 0) + weights["patch_embedding.position"].unflatten(1, (GRID, GRID))
    for depth in range(config.num_hidden_layers + 1):
        if depth:
            prefix = f"blocks.{depth - 1}."
            block = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            tokens = _block(tokens, block, config.hidden_size // config.num_attention_heads)
        if depth in config.downsample_after:
            stride = config.downsample_strides[config.downsample_after.index(depth)]
            own = {
                name: weights.get(f"downsamples.{depth}.{name}")
                for name in ("weight", "bias", "widen.weight", "widen.bias")
            }
            grid = tokens.permute(3, 0, 1, 2)[None]
            grid = F.conv3d(grid, own["weight"], own["bias"], stride, groups=tokens.shape[-1])
            tokens = grid[0].permute(1, 2, 3, 0)
            if own["widen.weight"] is not None:
                tokens = tokens @ own["widen.weight"].T + own["widen.bias"]
    (tokens,) = F.layer_norm(tokens, tokens.shape[-1:], weights["norm.weight"], weights["norm.bias"], 1e-6)
    return tokens @ weights["head.weight"].T + weights["head.bias"]


def _block(tokens_THWC: Tensor, weights: dict[str, Tensor], head: int) -> Tensor:
    width, tokens = tokens_THWC.shape[-1], tokens_THWC.flatten(1, 2)

    def norm(name: str) -> Tensor:
        return F.layer_norm(tokens, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(name: str, values: Tensor) -> Tensor:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    query, key, value = (
        part.unflatten(-1, (-1, head)).transpose(1, 2)
        for part in linear("attn.qkv", norm("norm1")).split(width, dim=-1)
    )
    attended = torch.softmax(query @ key.transpose(-1, -2) / head**0.5, dim=-1) @ value
    tokens = tokens + linear("attn.proj", attended.transpose(1, 2).flatten(2))
    tokens = tokens + linear("fc2", F.gelu(linear("fc1", norm("norm2"))))
    if "temporal.weight" in weights:
        over_time = tokens.permute(1, 2, 0)
        mixed = F.conv1d(over_time, weights["temporal.weight"], weights["temporal.bias"], padding=1, groups=width)
        tokens = tokens + mixed.permute(2, 0, 1)
    return tokens.unflatten(1, tokens_THWC.shape[1:3])


@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_are_those_of_the_formulas(shape: str) -> None:
    encoder, frames = make(**SHAPES[shape]), video()
    found = encode(encoder, frames)
    clips = normalize(frames).unflatten(1, (2, 4))
    expected = torch.stack([torch.stack([by_hand(encoder, clip) for clip in each]) for each in clips])
    assert found.shape == (2, 2, 2, 2, 24)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frames", [1, 5, 6, 7])
def test_the_last_clip_is_filled_up_with_the_last_frame(shape: str, frames: int) -> None:
    encoder, pixels = make(**SHAPES[shape]), video(frames)
    filled = torch.cat([pixels, pixels[:, -1:].expand(-1, -frames % 4, -1, -1, -1)], dim=1)
    torch.testing.assert_close(encode(encoder, pixels), encode(encoder, filled), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_encoder_comes_back(shape: str, tmp_path) -> None:
    encoder, frames = make(**SHAPES[shape]), video()
    encoder.save_pretrained(tmp_path)
    again = LiteFrameEncoder.from_pretrained(tmp_path).eval()
    assert torch.equal(encode(again, frames), encode(encoder, frames))
    assert again.config.stage_sizes == encoder.config.stage_sizes


def test_widths_and_heads_of_the_stages() -> None:
    encoder = make(**NARROW)
    assert [block.fc1.in_features for block in encoder.blocks] == [16, 24, 32]
    assert [block.fc1.out_features for block in encoder.blocks] == [64, 96, 128]
    assert [block.attn.heads for block in encoder.blocks] == [2, 3, 4]
    paper = make()
    assert not any(isinstance(module, nn.Linear) for module in paper.downsamples.modules())


def test_a_tubelet_of_two_has_half_the_tokens_before_the_first_stride() -> None:
    rows = []
    for changes in ({}, TUBELETS):
        encoder = make(**changes)
        encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].shape))
        encode(encoder, video(4))
    assert rows == [(8, 16, 32), (4, 16, 32)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tubelet_frames": 2}, "tubelet_frames"),
        ({"tubelet_frames": 3, "downsample_strides": [[1, 2, 2], [1, 1, 1]]}, "tubelet_frames"),
        ({"tubelet_frames": 0}, "tubelet_frames"),
        ({"tubelet_frames": 1.0}, "tubelet_frames"),
        ({"downsample_after": [-1, 2]}, "downsample_after"),
        ({"downsample_after": [0, 0]}, "downsample_after"),
        ({"early_hidden_sizes": [16]}, "early_hidden_sizes"),
        ({"early_hidden_sizes": [16, 20]}, "early_hidden_sizes"),
        ({"early_hidden_sizes": [0, 16]}, "early_hidden_sizes"),
        ({"early_hidden_sizes": 16}, "early_hidden_sizes"),
        ({"early_hidden_sizes": [24, 16]}, "early_hidden_sizes"),
        ({"early_hidden_sizes": [16, 64]}, "early_hidden_sizes"),
        ({"tubelet_frames": True}, "tubelet_frames"),
        ({"early_hidden_sizes": [True, 16]}, "early_hidden_sizes"),
        ({"early_hidden_sizes": [10**9, 16]}, "early_hidden_sizes"),
    ],
)
def test_shapes_that_cannot_be_are_refused_by_the_name_of_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        LiteFrameConfig(**{**BASE, **changes})


@pytest.mark.parametrize(("channels", "tubelet"), [(1, 1), (1, 2), (6, 1)])
def test_bytes_of_other_than_three_channels_are_refused(channels: int, tubelet: int) -> None:
    shape = TUBELETS if tubelet == 2 else {}
    frames = torch.zeros(1, 4, channels, SIDE, SIDE, dtype=torch.uint8)
    with pytest.raises(GeometryError, match="3 colours"):
        encode(make(num_channels=channels, **shape), frames)


class TestFromTimm:
    def vit(self) -> VisionTransformer:
        torch.manual_seed(1)
        settings = {"patch_size": 14, "embed_dim": 32, "depth": 3, "num_heads": 4, "class_token": False}
        return VisionTransformer(img_size=SIDE, global_pool="avg", num_classes=0, **settings).eval()

    def test_a_still_picture_has_the_tokens_of_the_vit(self) -> None:
        vit, encoder = self.vit(), make(**TUBELETS)
        load_timm_weights(encoder, vit)
        still = normalize(video(1))[0].expand(4, -1, -1, -1)
        found: list[Tensor] = []
        encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
        encode(encoder, still[None])
        with torch.no_grad():
            expected = vit._pos_embed(vit.patch_embed(still[:2]))
        torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-4)

    def test_stages_of_several_widths_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="early_hidden_sizes"):
            load_timm_weights(make(**NARROW), self.vit())


class TestFromTeacher:
    """Strides that follow from what a target stands for leave to tubelets what these have merged."""

    @pytest.mark.parametrize(
        ("given", "after", "strides", "clip"),
        [
            ({"tubelet_frames": 2}, [4], [[2, 2, 2]], 4),
            ({"tubelet_frames": 4}, [4], [[1, 2, 2]], 4),
            ({"tubelet_frames": 2, "downsample_after": [0, 8]}, [0], [[2, 2, 2]], 4),
            ({"tubelet_frames": 2, "downsample_strides": [[1, 2, 2], [2, 1, 1]]}, None, [[1, 2, 2], [2, 1, 1]], 4),
        ],
    )
    def test_strides(self, given: dict[str, Any], after: list[int] | None, strides: list[list[int]], clip: int) -> None:
        fields = student_fields(None, WAP(), given)
        assert fields.get("downsample_after") == after
        assert fields["downsample_strides"] == strides and fields["clip_frames"] == clip
        assert LiteFrameConfig(**fields).stride == (4, 2, 2)

    def test_a_tubelet_longer_than_a_target(self) -> None:
        with pytest.raises(ConfigError, match="tubelet_frames"):
            student_fields(None, WAP(), {"tubelet_frames": 3})
