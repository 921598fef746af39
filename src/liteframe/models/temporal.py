"""Where the student mixes and drops frames: temporal mixers, and the strided convolution between its stages.

Paper, section 3 (student encoder): a depth-wise 1-D convolution over time after every block whose clip still has more
than one frame, and depth-wise strided convolutions after two of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liteframe.errors import ConfigError


class DepthwiseTemporalConv(nn.Module):
    """Residual depth-wise convolution over the frames of a clip, zero-padded at the clip's ends.

    ``weight`` (C, 1, kernel) and ``bias`` (C,) mean what they mean in ``nn.Conv1d(groups=C)``. Both start at zero, so
    the mixer starts as the identity.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"temporal_kernel must be odd and positive, got {kernel}")
        self.weight = nn.Parameter(torch.zeros(channels, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens_BTNC: Tensor) -> Tensor:
        """``(B clips, T frames, N tokens, C)`` to the same shape."""
        channels, _, kernel = self.weight.shape
        # As a 2-D convolution over (T, N) the tokens already lie in channels-last order: nothing is copied.
        mixed_BCTN = F.conv2d(
            tokens_BTNC.permute(0, 3, 1, 2),
            self.weight.unsqueeze(-1),
            self.bias,
            padding=(kernel // 2, 0),
            groups=channels,
        )
        return tokens_BTNC + mixed_BCTN.permute(0, 2, 3, 1)


class StridedDownsample(nn.Module):
    """Depth-wise 3-D convolution whose kernel is its stride: one weighted sum a channel over each block of tokens.

    ``weight`` (C, 1, t, h, w) and ``bias`` (C,) mean what they mean in ``nn.Conv3d(kernel_size=stride, groups=C)``.
    """

    def __init__(self, channels: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, 1, *stride))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens_BTHWC: Tensor) -> Tensor:
        """``(B, T, H, W, C)`` to ``(B, T/t, H/h, W/w, C)``; the strides must divide the grid."""
        batch, frames, rows, columns, channels = tokens_BTHWC.shape
        t, h, w = self.stride
        grid = (batch, frames // t, rows // h, columns // w)
        # The taps of a block go on one axis, and a 2-D convolution runs over it: on a CPU the backward of a
        # depth-wise conv3d costs ten times as much.
        taps = tokens_BTHWC.reshape(batch, grid[1], t, grid[2], h, grid[3], w, channels)
        taps = taps.permute(0, 1, 3, 2, 4, 6, 5, 7).reshape(-1, t * h * w, grid[3], channels)
        pooled = F.conv2d(
            taps.permute(0, 3, 1, 2), self.weight.reshape(channels, 1, t * h * w, 1), self.bias, groups=channels
        )
        return pooled.permute(0, 2, 3, 1).reshape(*grid, channels)


TEMPORAL_MIXERS: dict[str, Callable[[int, int], nn.Module] | None] = {
    "depthwise": DepthwiseTemporalConv,
    "none": None,
}
"""Name to a maker (channels, kernel) of a residual mixer ``(B, T, N, C) -> (B, T, N, C)``; None mixes nothing."""


def make_mixer(name: str, channels: int, kernel: int) -> nn.Module | None:
    """The temporal mixer of that name. Raises ConfigError for a name that is not in `TEMPORAL_MIXERS`."""
    if name not in TEMPORAL_MIXERS:
        raise ConfigError(f"temporal_mixer must be one of {sorted(TEMPORAL_MIXERS)}, got {name!r}")
    maker = TEMPORAL_MIXERS[name]
    return None if maker is None else maker(channels, kernel)
