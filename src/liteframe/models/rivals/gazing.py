"""AutoGaze's small model, which names the patches of a clip that are worth encoding.

Source: Shi et al., "Attend Before Attention: Efficient and Scalable Video Understanding via Autoregressive Gazing"
(CVPR 2026, arXiv 2603.12254); written anew after reading the official code, around transformers' Llama.

A shallow convolutional network makes tokens of each frame. A small causal Llama reads those of the first and names
patches of it, several at a step, then reads the second frame behind them, and so on: what was named before is context.
Patches are of several scales. The released model stops in each frame when a head of it expects a video rebuilt from the
named patches to be close enough. Here the number of patches is given: it cannot be learnt without training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel
from transformers.cache_utils import DynamicCache

from liteframe.errors import ConfigError, GeometryError


@dataclass(frozen=True)
class GazeConfig:
    """Sizes of the gaze model, by default those of the released one.

    Attributes:
        image_size: side in pixels of the frames that it sees.
        patch_size: side in pixels of what one of its tokens of a frame stands for.
        grids: patches a side of a frame at each scale, the coarsest first.
        hidden_size, layers, heads, intermediate_size: of the Llama; the convolutions are as wide.
        patches_per_step: patches that are named at a step.
        clip_frames: frames that it was trained on, the most of a clip.
        first, later: patches that are named in the first frame of a clip and in each later one.

    Raises:
        ConfigError: more patches than a frame has, or none.
    """

    image_size: int = 224
    patch_size: int = 16
    grids: tuple[int, ...] = (2, 4, 7, 14)
    hidden_size: int = 192
    layers: int = 4
    heads: int = 6
    intermediate_size: int = 384
    patches_per_step: int = 10
    clip_frames: int = 16
    first: int = 53
    later: int = 15

    def __post_init__(self) -> None:
        for name in ("first", "later"):
            if not 1 <= getattr(self, name) <= self.patches:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; a frame has {self.patches} patches of all scales, so give 1 to"
                    f" {self.patches}"
                )

    @property
    def patches(self) -> int:
        """Patches of a frame, of all scales."""
        return sum(side**2 for side in self.grids)

    @property
    def tokens(self) -> int:
        """Tokens that the Llama reads of a frame."""
        return (self.image_size // self.patch_size) ** 2

    def counts(self, frames: int) -> list[int]:
        """Patches that are named in each frame of a clip."""
        return [self.first, *[self.later] * (frames - 1)]

    def steps(self, frames: int) -> int:
        """Passes through the Llama that a clip takes."""
        return sum(-(-count // self.patches_per_step) for count in self.counts(frames))

    def llama(self) -> LlamaConfig:
        """The config of its Llama; the last word of its vocabulary ends a frame and is never chosen here."""
        config = LlamaConfig(
            vocab_size=self.patches + 1,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            bos_token_id=None,
            eos_token_id=self.patches,
        )
        config._attn_implementation = "sdpa"
        return config


class FrameTokens(nn.Module):
    """Tokens of the frames of a clip: patches, one block of convolution over space and the frames before, positions.

    Args:
        config: sizes.
    """

    def __init__(self, config: GazeConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.patches = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Conv3d(width, width, 3, padding=(0, 1, 1))
        self.out = nn.Linear(width, width)
        self.positions_NC = nn.Parameter(torch.randn(config.tokens, width))

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        """Tokens (B, T, N, C) of clips of the size that the model sees."""
        B, T = clips_BTCHW.shape[:2]
        patches_BTCHW = self.patches(clips_BTCHW.flatten(0, 1)).unflatten(0, (B, T))
        normed_BCTHW = self.norm(patches_BTCHW.movedim(2, -1)).movedim(-1, 1)
        before = self.mix.kernel_size[0] - 1
        mixed_BCTHW = self.mix(functional.pad(normed_BCTHW, (0, 0, 0, 0, before, 0))).relu()
        return self.out(mixed_BCTHW.flatten(3).permute(0, 2, 3, 1)) + self.positions_NC


class GazeModel(nn.Module):
    """Names patches of clips, frame after frame.

    Args:
        config: sizes, and how many patches are named.
    """

    def __init__(self, config: GazeConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_tokens = FrameTokens(config)
        self.llama = LlamaModel(config.llama())
        self.head = nn.Linear(config.hidden_size, config.patches_per_step * (config.patches + 1), bias=False)

    def forward(self, clips_BTCHW: Tensor) -> list[Tensor]:
        """The patches (B, count) that are named in each frame, numbered scale by scale in raster order.

        All clips go through each step together, and no token goes through the Llama twice: a pass takes in what was
        named at the step before, and the tokens of a frame along with the patches that ended the previous one.

        Args:
            clips_BTCHW: normalised frames of any size, at most `clip_frames` a clip.

        Raises:
            GeometryError: clips of more frames.
        """
        frames = clips_BTCHW.shape[1]
        if frames > self.config.clip_frames:
            raise GeometryError(f"a clip of {frames} frames: the gaze model takes {self.config.clip_frames} at most")
        tokens_BTNC = self.frame_tokens(self._resized(clips_BTCHW))
        cache = DynamicCache(config=self.llama.config)
        unread: list[Tensor] = []
        named = []
        for tokens_BNC, count in zip(tokens_BTNC.unbind(1), self.config.counts(frames), strict=True):
            unread.append(tokens_BNC)
            taken_BV = self._taken(tokens_BNC)
            found: list[Tensor] = []
            while (left := count - sum(ids.shape[1] for ids in found)) > 0:
                hidden_BLC = self.llama(inputs_embeds=torch.cat(unread, dim=1), past_key_values=cache, use_cache=True)
                logits_BKV = self.head(hidden_BLC.last_hidden_state[:, -1]).unflatten(-1, (-1, taken_BV.shape[1]))
                ids_BK = choose(logits_BKV[:, :left].float(), taken_BV)
                found.append(ids_BK)
                unread = [self.llama.embed_tokens(ids_BK)]
            named.append(torch.cat(found, dim=1))
        return named

    def _resized(self, clips_BTCHW: Tensor) -> Tensor:
        side = self.config.image_size
        if clips_BTCHW.shape[-2:] == (side, side):
            return clips_BTCHW
        frames_FCHW = resized(clips_BTCHW.flatten(0, 1), (side, side))
        return frames_FCHW.unflatten(0, clips_BTCHW.shape[:2])

    def _taken(self, tokens_BNC: Tensor) -> Tensor:
        """What is added to the scores of a frame that nothing was named of: only the end of the frame is ruled out."""
        taken_BV = tokens_BNC.new_zeros(tokens_BNC.shape[0], self.config.patches + 1, dtype=torch.float32)
        taken_BV[:, -1] = -torch.inf
        return taken_BV


def choose(logits_BKV: Tensor, taken_BV: Tensor) -> Tensor:
    """The best patch (B, K) of each of K heads that neither an earlier head nor an earlier step named.

    Args:
        logits_BKV: scores of each head.
        taken_BV: 0, or minus infinity for what may not be named any more; what is named here is added to it.
    """
    ids = []
    for logits_BV in logits_BKV.unbind(1):
        best_B1 = (logits_BV + taken_BV).argmax(dim=-1, keepdim=True)
        taken_BV.scatter_(1, best_B1, -torch.inf)
        ids.append(best_B1)
    return torch.cat(ids, dim=1)


def resized(frames_FCHW: Tensor, size: Sequence[int]) -> Tensor:
    """Frames at another size, bicubic without antialiasing as the official code has it."""
    if tuple(frames_FCHW.shape[-2:]) == tuple(size):
        return frames_FCHW
    return functional.interpolate(frames_FCHW, tuple(size), mode="bicubic", align_corners=False)
