"""The encoder alone as an ONNX file, for runtimes without Python or torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.system.atomic import atomic_open
from liteframe.system.installation import install_hint

_NEEDED = ("onnx", "onnxscript")


class _WholeClips(nn.Module):
    """The encoder for videos of whole clips, as a batch of clips: then only the batch is of unknown size."""

    def __init__(self, encoder: LiteFrameEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.clip = encoder.config.clip_frames

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        batch, frames = frames_BTCHW.shape[:2]
        clips = frames_BTCHW.reshape(batch * (frames // self.clip), self.clip, *frames_BTCHW.shape[2:])
        tokens_BTHWC = self.encoder(clips).last_hidden_state
        return tokens_BTHWC.reshape(batch, -1, *tokens_BTHWC.shape[2:])


def export_onnx(encoder: LiteFrameEncoder, path: Path, size: tuple[int, int] | None = None) -> None:
    """Writes the encoder with input ``frames_BTCHW`` and output ``tokens_BTHWC``, both float32, in one file.

    Batch and frames may be of any size, frames a multiple of `clip_frames`; height and width are fixed.

    Args:
        encoder: the student.
        path: of the file.
        size: height and width in pixels; None is `image_size` of the encoder's config.

    Raises:
        ConfigError: onnx or onnxscript is not installed, or the file cannot be written, which is tried before the work.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise ConfigError(f"{' and '.join(missing)} not installed; {install_hint('onnx')}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(path) as file:
            file.write(_exported(encoder, size))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or give another folder"
        ) from error


def float_copy(encoder: LiteFrameEncoder) -> LiteFrameEncoder:
    """The encoder in float32 and eval mode, with the attention that exports without a loop or uninitialised memory."""
    copy = LiteFrameEncoder(LiteFrameConfig.from_dict({**encoder.config.to_dict(), "attention": "sdpa"}))
    copy.load_state_dict(encoder.state_dict())
    return copy.float().eval()


def _exported(encoder: LiteFrameEncoder, size: tuple[int, int] | None) -> bytes:
    config = encoder.config
    clip, (height, width) = config.clip_frames, size or (config.image_size, config.image_size)
    dim: Any = torch.export.Dim
    axes = {0: dim("batch", min=1), 1: clip * dim("clips", min=1)}
    program: Any = torch.onnx.export(
        _WholeClips(float_copy(encoder)).eval(),
        (torch.zeros(2, 2 * clip, config.num_channels, height, width),),
        input_names=["frames_BTCHW"],
        output_names=["tokens_BTHWC"],
        dynamic_shapes=(axes,),
        dynamo=True,
        verbose=False,
    )
    return bytes(program.model_proto.SerializeToString())
