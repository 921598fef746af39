"""Pictures for the run's loggers: WAP's weights over the frames, and how near student and target are on the grid."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_DARK = torch.tensor([0.05, 0.03, 0.25])
_BRIGHT = torch.tensor([1.0, 0.92, 0.25])


def heat(values_THW: Tensor, size: tuple[int, int]) -> Tensor:
    """Values in [0, 1] as colours from dark blue to yellow, (T, 3, height, width); one flat square a token."""
    scaled = functional.interpolate(values_THW[:, None].float().clamp(0, 1), size=size, mode="nearest")
    dark, bright = _DARK.to(scaled.device)[:, None, None], _BRIGHT.to(scaled.device)[:, None, None]
    return dark + scaled * (bright - dark)


def film(frames_TCHW: Tensor) -> Tensor:
    """Frames side by side, (3, H, T * W)."""
    return torch.cat(list(frames_TCHW), dim=-1)


def wap_picture(frames_TCHW: Tensor, weights_THW: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Two rows: the frames (uint8), and the frames under WAP's weights (bright: four times the mean weight or more)."""
    pixels = frames_TCHW / 255
    shown = heat(weights_THW * prod(block) / 4, (pixels.shape[-2], pixels.shape[-1]))
    return torch.cat([film(pixels), film(0.35 * pixels + 0.65 * shown)], dim=-2)


def similarity_picture(frames_TCHW: Tensor, student_THWC: Tensor, target_THWC: Tensor) -> Tensor:
    """Two rows: first frame of each clip, and how alike student and target are in it (dark: cosine 0; bright: 1).

    Frames are uint8.
    """
    clips = student_THWC.shape[0]
    first = frames_TCHW[:: max(1, frames_TCHW.shape[0] // clips)][:clips] / 255
    cosine = functional.cosine_similarity(student_THWC.float(), target_THWC.float(), dim=-1)
    return torch.cat([film(first), film(heat(cosine, (first.shape[-2], first.shape[-1])))], dim=-2)


def log_picture(loggers: Iterable[Any], name: str, picture_CHW: Tensor, step: int) -> None:
    """Hands an RGB picture in [0, 1] to each logger that takes pictures; of others a line says so, once."""
    pixels_HWC = (picture_CHW.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    for logger in loggers:
        if hasattr(logger, "log_image"):  # Weights & Biases
            logger.log_image(name, [pixels_HWC], step)
        elif hasattr(logger.experiment, "add_image"):  # TensorBoard
            logger.experiment.add_image(name, pixels_HWC, step, dataformats="HWC")
        elif hasattr(logger.experiment, "log_image"):  # MLflow
            logger.experiment.log_image(logger.run_id, pixels_HWC, key=name, step=step)
        else:
            _say_left_out(type(logger).__name__)


@cache
def _say_left_out(logger: str) -> None:
    print(f"{logger} takes no pictures, so they are left out of it", file=sys.stderr)
