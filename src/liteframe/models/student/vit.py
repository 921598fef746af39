"""The plain parts of the student: patch embedding with positions, and the transformer block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Colour
from liteframe.models.student.self_attention import SelfAttention
from liteframe.models.student.temporal import JOINT, MixerSettings, make_mixer

_PIXELS = (IMAGENET_MEAN, IMAGENET_STD)
_CENTRE = 128


def sincos_positions(rows: int, columns: int, rates_F: Tensor) -> Tensor:
    """Fixed 2-D sine and cosine positions, ``(1, rows * columns, C)`` with C = 4 F: half the channels a direction.

    Args:
        rates_F: radians a row or column of each wave, such as ``10000 ** (-f / F)``.
    """
    parts = []
    for size, view in ((rows, (-1, 1)), (columns, (1, -1))):
        angles = torch.arange(size, dtype=torch.float32)[:, None] * rates_F
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        parts.append(waves.view(*view, 2 * len(rates_F)).expand(rows, columns, -1))
    return torch.cat(parts, dim=-1).flatten(0, 1)[None]


def resize_positions(position_1NC: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Positions of another grid by bicubic interpolation, as transformers' InternVL does it."""
    if grid == new_grid:
        return position_1NC
    grid_1CHW = position_1NC.float().reshape(1, *grid, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid_1CHW, size=new_grid, mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(position_1NC.dtype)


class PatchEmbedding(nn.Module):
    """Frames ``(M, channels, H, W)``, uint8 or normalised, to patch tokens with positions, ``(M, N, C)``.

    Several frames are embedded as one with their channels on one axis, frame after frame.
    """

    def __init__(self, image_size: int, patch_size: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.projection = nn.Conv2d(in_channels, channels, kernel_size=patch_size, stride=patch_size)
        self.position = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], channels))

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        if frames_BCHW.dtype == torch.uint8:
            patches_BCHW = project_pixels(frames_BCHW, self.projection, *_PIXELS)
        else:
            patches_BCHW = self.projection(frames_BCHW.to(self.projection.weight.dtype))
        grid = (patches_BCHW.shape[2], patches_BCHW.shape[3])
        tokens_BNC = patches_BCHW.flatten(2).transpose(1, 2).contiguous()
        # The residual stream keeps the dtype of the products (bfloat16 under autocast): half the memory traffic.
        return tokens_BNC + resize_positions(self.position, self.grid, grid).to(tokens_BNC.dtype)


def project_pixels(frames_BCHW: Tensor, convolution: nn.Conv2d, means: Colour, deviations: Colour) -> Tensor:
    """The convolution of normalised frames, with the normalisation in its weight and bias instead of in the pixels.

    It takes the place of passes over all pixels in float32. Pixels are centred as they are bytes, so that
    bfloat16 holds each of them exactly and the bias stays small.

    Args:
        frames_BCHW: uint8.
        convolution: to patches, without padding.
        means, deviations: of its pixels, on the 0 to 1 scale.
    """
    own = convolution.weight.dtype
    exact = convolution.weight.to(torch.promote_types(own, torch.float32))
    # By numbers, as tensors of them could not be copied to a GPU while a graph is captured.
    of_frame = list(zip(means, deviations, strict=True))
    pixels = of_frame * (exact.shape[1] // len(of_frame))
    by_channel = [each / (255 * by) for each, (_, by) in zip(exact.unbind(1), pixels, strict=True)]
    shifts = [each.sum((1, 2)) * (_CENTRE - 255 * mean) for each, (mean, _) in zip(by_channel, pixels, strict=True)]
    weight, shift = torch.stack(by_channel, dim=1), torch.stack(shifts).sum(0)
    bias = shift if convolution.bias is None else convolution.bias + shift
    device = frames_BCHW.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else own
    centred_BCHW = (frames_BCHW ^ _CENTRE).view(torch.int8).to(dtype)  # as x - 128, without a carry
    return F.conv2d(centred_BCHW, weight.to(dtype), bias.to(dtype), convolution.stride)


class TransformerBlock(GradientCheckpointingLayer):
    """Pre-norm transformer block within each frame, then the temporal mixer over the clip's frames, if it has one.

    With the mixer "joint" its attention runs among all tokens of the clip instead, and nothing comes after.

    Args:
        frames: frames of a clip at this depth; a clip of one frame has no mixer.
        mixer, mixer_kernel: the temporal mixer's name and kernel, see `liteframe.models.student.temporal`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        mlp_channels: int,
        frames: int,
        mixer: str = "depthwise",
        mixer_kernel: int = 3,
        norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        attention: str = "auto",
    ) -> None:
        super().__init__()
        self.frames = frames
        self.norm1 = nn.LayerNorm(channels, eps=norm_eps)
        self.attn = SelfAttention(channels, heads, qkv_bias, attention)
        self.norm2 = nn.LayerNorm(channels, eps=norm_eps)
        self.fc1 = nn.Linear(channels, mlp_channels)
        self.fc2 = nn.Linear(mlp_channels, channels)
        self.joint = mixer == JOINT and frames > 1
        settings = MixerSettings(channels, mixer_kernel, heads, norm_eps, qkv_bias)
        self.temporal = make_mixer(mixer, settings) if frames > 1 else None

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        """``(M frames, N, C)`` to the same shape, where M counts all frames of all clips."""
        rows_BNC = tokens_BNC.unflatten(0, (-1, self.frames)).flatten(1, 2) if self.joint else tokens_BNC
        tokens_BNC = tokens_BNC + self.attn(self.norm1(rows_BNC)).view_as(tokens_BNC)
        tokens_BNC = tokens_BNC + self.fc2(F.gelu(self.fc1(self.norm2(tokens_BNC))))
        if self.temporal is None:
            return tokens_BNC
        return self.temporal(tokens_BNC.unflatten(0, (-1, self.frames))).flatten(0, 1)
