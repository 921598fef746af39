"""A backbone as a program of torch.export, from which the files of every exchange format are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config

from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.model import LiteFrameBackbone

INPUT, OUTPUT = "frames_BTCHW", "tokens_BTHWC"
"""Names of input and output in every format; both are float32."""

Encode = Callable[[Tensor], Tensor]
"""``frames_BTCHW`` to ``tokens_BTHWC``, by whatever runs it."""


class TokensOfWholeClips(nn.Module):
    """A backbone, ``frames_BTCHW`` to `VisionTokens`, that gives ``tokens_BTHWC`` alone, of videos of whole clips.

    The backbone sees a batch of clips, so that only its batch is of unknown size.
    """

    def __init__(self, backbone: nn.Module, clip_frames: int) -> None:
        super().__init__()
        self.backbone, self.clip_frames = backbone, clip_frames

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        # First by video, so that no clip is made of two where the frames of one are no whole clips.
        clips_NTCHW = frames_BTCHW.unflatten(1, (-1, self.clip_frames)).flatten(0, 1)
        # In the order of memory, as else torch.export fixes how many clips of a single frame there may be: a teacher's
        # tokens are a view behind its class token.
        tokens_NTHWC = self.backbone(clips_NTCHW).tokens_BTHWC.contiguous()
        return tokens_NTHWC.unflatten(0, (frames_BTCHW.shape[0], -1)).flatten(1, 2)


def float_copy(encoder: LiteFrameEncoder) -> LiteFrameEncoder:
    """The encoder in float32 and eval mode, with the attention that exports without a loop or uninitialised memory."""
    copy = LiteFrameEncoder(LiteFrameConfig.from_dict({**encoder.config.to_dict(), "attention": "sdpa"}))
    copy.load_state_dict(encoder.state_dict())
    return copy.float().eval()


def encoder_program(encoder: LiteFrameEncoder, size: tuple[int, int]) -> Any:
    """`backbone_program` of a copy of the encoder in float32.

    Args:
        encoder: the student.
        size: height and width in pixels.
    """
    config = encoder.config
    backbone = LiteFrameBackbone(float_copy(encoder))
    return backbone_program(backbone, (config.clip_frames, config.num_channels, *size))


def backbone_program(backbone: nn.Module, shape: tuple[int, int, int, int]) -> Any:
    """A `torch.export.ExportedProgram`, ``frames_BTCHW`` to ``tokens_BTHWC``, both float32.

    Batch and frames may be of any size, frames a multiple of those of a clip. Height and width are fixed: position
    embeddings are resized for them while it is made.

    Its `module` has to be asked for with ``check_guards=False`` where a single clip of a single video is to go: torch
    guards against it, for a choice of memory layout that changes no result. Wrong shapes are refused all the same.

    Args:
        backbone: ``frames_BTCHW`` to `VisionTokens`, in float32 and eval mode; any attention but the eager one, which
            holds uninitialised memory.
        shape: (T, C, H, W) of a clip.
    """
    clip, clips = shape[0], torch.export.Dim("clips", min=1)
    axes: Any = {0: torch.export.Dim("batch", min=1), 1: clip * clips if clip > 1 else clips}
    # Two videos of two clips, as torch.export takes a size of 1 in the example for a constant.
    example_BTCHW = torch.zeros(2, 2 * clip, *shape[1:])
    # As torch.onnx does: else each reshape of a number of clips that is a product takes sympy minutes to reason about.
    with torch.no_grad(), _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        return torch.export.export(TokensOfWholeClips(backbone, clip).eval(), (example_BTCHW,), dynamic_shapes=(axes,))
