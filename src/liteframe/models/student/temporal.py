"""Where the student mixes and drops frames: temporal mixers, and the strided convolution between its blocks.

Section 4.1 of the paper: a depth-wise 1-D convolution over time after every block whose clip still has more
than one frame, and depth-wise strided convolutions after two of the blocks. Tables 2 and 5 set it against a full
convolution, interleaved temporal attention and joint attention over space and time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liteframe.errors import ConfigError
from liteframe.models.student.self_attention import SelfAttention


@dataclass(frozen=True)
class MixerSettings:
    """What temporal mixers are made from: widths, and how the blocks around them are made.

    Attributes:
        channels: width of the tokens.
        kernel: frames that a convolution spans, odd.
        heads, norm_eps, qkv_bias: of an attention over time, the block's own.
    """

    channels: int
    kernel: int = 3
    heads: int = 1
    norm_eps: float = 1e-6
    qkv_bias: bool = True


class TemporalMixer(nn.Module):
    """Mixes the frames of a clip: ``(B clips, T frames, N tokens, C)`` to the same shape, with its residual."""

    def starting_at_zero(self) -> Iterable[nn.Parameter]:
        """Its own parameters that begin at zero, so that it begins as the identity."""
        return ()


class _TemporalConv(TemporalMixer):
    """Residual convolution over the frames of a clip, zero-padded at the clip's ends.

    `weight` and `bias` mean what they mean in ``nn.Conv1d``.
    """

    def __init__(self, channels: int, kernel: int, groups: int) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"temporal_kernel must be odd and positive, got {kernel}")
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(channels, channels // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))

    def starting_at_zero(self) -> Iterable[nn.Parameter]:
        return self.weight, self.bias

    def forward(self, tokens_BTNC: Tensor) -> Tensor:
        # As a 2-D convolution over (T, N) the tokens already lie in channels-last order: nothing is copied.
        mixed_BCTN = F.conv2d(
            tokens_BTNC.permute(0, 3, 1, 2),
            self.weight.unsqueeze(-1),
            self.bias,
            padding=(self.weight.shape[-1] // 2, 0),
            groups=self.groups,
        )
        return tokens_BTNC + mixed_BCTN.permute(0, 2, 3, 1)


class DepthwiseTemporalConv(_TemporalConv):
    """A filter over time for each channel, the paper's choice: `weight` (C, 1, kernel).

    Attributes:
        fused: convolve and add in one Triton kernel where that can run, see `LiteFrameEncoder.fuse_temporal`.
    """

    fused = False

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__(channels, kernel, groups=channels)

    def forward(self, tokens_BTNC: Tensor) -> Tensor:
        if self._fuses(tokens_BTNC):
            from liteframe.models.student.temporal_triton import depthwise_temporal_add

            return depthwise_temporal_add(tokens_BTNC, self.weight, self.bias)
        return super().forward(tokens_BTNC)

    def _fuses(self, tokens_BTNC: Tensor) -> bool:
        # The kernel has no backward pass.
        return self.fused and tokens_BTNC.is_cuda and not torch.is_grad_enabled()


class FullTemporalConv(_TemporalConv):
    """A convolution over time that mixes the channels too: `weight` (C, C, kernel)."""

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__(channels, kernel, groups=1)


class TemporalAttention(TemporalMixer):
    """Residual pre-norm self-attention among the frames of a clip, at each position of the grid on its own.

    The output projection starts at zero, so the mixer starts as the identity. Rows of a few frames are multiplied as
    plain matrices whatever attention implementation the blocks use, as fused ones are made for long rows.
    """

    def __init__(self, settings: MixerSettings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.channels, eps=settings.norm_eps)
        self.attn = SelfAttention(settings.channels, settings.heads, settings.qkv_bias, "eager", zero_output=True)

    def forward(self, tokens_BTNC: Tensor) -> Tensor:
        batch, frames, count, channels = tokens_BTNC.shape
        # Of one clip the reshape is a view, which a frozen linear layer would multiply row by row.
        rows_MTC = self.norm(tokens_BTNC).transpose(1, 2).reshape(batch * count, frames, channels).contiguous()
        return tokens_BTNC + self.attn(rows_MTC).view(batch, count, frames, channels).transpose(1, 2)


class FramePositions(nn.Module):
    """A learned vector for each frame of a clip, added to its tokens: attention by itself cannot tell frames apart.

    They start at zero. Convolutions over time have no need of them.
    """

    def __init__(self, frames: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(frames, 1, channels))

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        """``(B clips * T frames, N tokens, C)`` to the same shape."""
        tokens_BTNC = tokens_BNC.unflatten(0, (-1, len(self.weight)))
        return (tokens_BTNC + self.weight.to(tokens_BNC.dtype)).flatten(0, 1)


class StridedDownsample(nn.Module):
    """Depth-wise 3-D convolution whose kernel is its stride: one weighted sum a channel over each block of tokens.

    ``weight`` (C, 1, t, h, w) and ``bias`` (C,) mean what they mean in ``nn.Conv3d(kernel_size=stride, groups=C)``.
    Where the tokens behind it are of another width, a linear layer, `widen`, follows.
    """

    def __init__(self, channels: int, stride: tuple[int, int, int], out_channels: int | None = None) -> None:
        super().__init__()
        widens = out_channels is not None and out_channels != channels
        self.widen = nn.Linear(channels, out_channels or channels) if widens else None
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, 1, *stride))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens_BTHWC: Tensor) -> Tensor:
        """``(B, T, H, W, C)`` to ``(B, T/t, H/h, W/w, C')``; the strides must divide the grid."""
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
        merged_BTHWC = pooled.permute(0, 2, 3, 1).reshape(*grid, channels)
        return merged_BTHWC if self.widen is None else self.widen(merged_BTHWC)


JOINT = "joint"
"""Among the names below, the one that is no module: the block's own attention runs over the whole clip."""

TEMPORAL_MIXERS: dict[str, Callable[[MixerSettings], TemporalMixer] | None] = {
    "depthwise": lambda settings: DepthwiseTemporalConv(settings.channels, settings.kernel),
    "full": lambda settings: FullTemporalConv(settings.channels, settings.kernel),
    "attention": TemporalAttention,
    JOINT: None,
    "none": None,
}
"""Name -> what makes the mixer; None adds nothing after the block."""

WITH_FRAME_POSITIONS = ("attention", JOINT)
"""The mixers that need `FramePositions`."""


def make_mixer(name: str, settings: MixerSettings) -> TemporalMixer | None:
    """The temporal mixer of that name. Raises ConfigError for a name that is not in `TEMPORAL_MIXERS`."""
    if name not in TEMPORAL_MIXERS:
        raise ConfigError(f"temporal_mixer must be one of {sorted(TEMPORAL_MIXERS)}, got {name!r}")
    maker = TEMPORAL_MIXERS[name]
    return None if maker is None else maker(settings)
