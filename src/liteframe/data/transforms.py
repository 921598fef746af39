"""From decoded frames to what encoders see: squashed to the model's size, then normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

Colour = tuple[float, float, float]
"""A number for each of red, green and blue, on the 0 to 1 scale."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per-channel mean and standard deviation on the 0 to 1 scale, as in InternVL's processor files."""


def resize_uint8(frames_THWC: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Frames squashed to exactly `size` = (height, width), bicubic with antialias, as InternVL's video processor does.

    Args:
        frames_THWC: uint8, RGB.
        size: (height, width) in pixels. Frames that have it already are only re-laid.

    Returns:
        uint8 (T, C, height, width), contiguous.
    """
    frames_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)
    if tuple(frames_TCHW.shape[-2:]) != tuple(size):
        frames_TCHW = tvf.resize(frames_TCHW, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True)
    return frames_TCHW.contiguous()


def normalize(frames_BTCHW: torch.Tensor, mean: Colour = IMAGENET_MEAN, std: Colour = IMAGENET_STD) -> torch.Tensor:
    """uint8 frames (any leading axes, then C, H, W) as float32 `(x / 255 - mean) / std`."""
    mean_C11 = _by_channel(mean, frames_BTCHW.device).mul_(255.0)
    std_C11 = _by_channel(std, frames_BTCHW.device).mul_(255.0)
    return frames_BTCHW.to(torch.float32).sub_(mean_C11).div_(std_C11)


def _by_channel(values: Sequence[float], device: torch.device) -> torch.Tensor:
    """Numbers as float32 (C, 1, 1), filled in on the device: nothing is copied there while a CUDA graph is captured."""
    return torch.stack([torch.full((1, 1), value, dtype=torch.float32, device=device) for value in values])


def normalized_for(frames_BTCHW: torch.Tensor, mean: Colour, std: Colour) -> torch.Tensor:
    """Frames, uint8 or normalised as ImageNet is, as `(x / 255 - mean) / std` of a model; float32."""
    if frames_BTCHW.dtype == torch.uint8:
        return normalize(frames_BTCHW, mean, std)
    if (mean, std) == (IMAGENET_MEAN, IMAGENET_STD):
        return frames_BTCHW
    factors = [own / other for own, other in zip(IMAGENET_STD, std, strict=True)]
    offsets = [(own - other) / by for own, other, by in zip(IMAGENET_MEAN, mean, std, strict=True)]
    factor_C11, offset_C11 = (_by_channel(each, frames_BTCHW.device) for each in (factors, offsets))
    return torch.addcmul(offset_C11, frames_BTCHW.float(), factor_C11)


def describe_geometry(size: tuple[int, int]) -> dict[str, Any]:
    """How frames become pixels, for the keys of caches."""
    return {
        "image_size": list(size),
        "resize": "bicubic, antialias",
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
    }
