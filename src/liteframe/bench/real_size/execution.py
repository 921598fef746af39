"""Ways to run the same encoder: what an expert would try before saying how fast it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.errors import ConfigError
from liteframe.models.acceleration.attention_kernel import preferring
from liteframe.models.acceleration.compiled_layers import compile_layers
from liteframe.models.acceleration.cuda_graphs import CUDAGraphs
from liteframe.models.backbone import VisionTokens
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.student.float8 import quantise_float8, require_float8
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.model import LiteFrameBackbone

FLASH_FIRST = ["flash", "efficient", "math"]
"""The attention kernels of a whole run on a GPU, by preference; cuDNN's plans each new length of a prompt anew."""
_CUDNN_FIRST = ["cudnn", *FLASH_FIRST]


@dataclass(frozen=True)
class Execution:
    """How an encoder is run; the weights are the same.

    Attributes:
        channels_last: weights of 2-D convolutions, and the frames, in that memory format, as decoders give frames.
        cudnn: attention by cuDNN's kernel.
        fused: temporal convolution and addition in one Triton kernel.
        float8: linear layers of the blocks, weights and activations.
        compiled: `torch.compile`, layer by layer.
        frozen: `torch.compile` of the whole with its weights as constants, a clip or a frame at a time.
        graphs: CUDA graphs. With either of the last two the student encodes in chunks of `CLIPS_AT_ONCE`.
    """

    channels_last: bool = False
    cudnn: bool = False
    fused: bool = False
    float8: bool = False
    compiled: bool = False
    frozen: bool = False
    graphs: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        flags = [field.name.replace("_", "-") for field in fields(self) if getattr(self, field.name)]
        return " + ".join(flags) or "eager"


EAGER = Execution()
_FOR_ALL = (
    EAGER,
    Execution(graphs=True),
    Execution(compiled=True),
    Execution(compiled=True, graphs=True),
    Execution(channels_last=True, cudnn=True, compiled=True, graphs=True),
    Execution(channels_last=True),
    Execution(cudnn=True),
)
EXECUTIONS: dict[str, tuple[Execution, ...]] = {
    "student": (*_FOR_ALL, Execution(fused=True), Execution(fused=True, graphs=True)),
    "teacher": _FOR_ALL,
}
"""Method -> ways to run its encoder that are compared, those that matter most first."""
FLOAT8 = (Execution(float8=True, compiled=True),)
"""Ways to run the student of another precision, which are timed apart from those in bfloat16."""
FROZEN = (EAGER, Execution(frozen=True))
"""Ways to run an encoder on a CPU, as `liteframe chat --engine torch` and ``torch-compile`` do."""


def by_name(name: str) -> Execution:
    """The way of that name."""
    return next(how for how in (*_FOR_ALL, *EXECUTIONS["student"], *FLOAT8, *FROZEN) if how.name == name)


def executed(backbone: nn.Module, how: Execution) -> nn.Module:
    """A copy of the backbone of teacher or student that is run so.

    Raises:
        ConfigError: it cannot be run so here.
    """
    student = isinstance(backbone, LiteFrameBackbone)
    quantiser = require_float8(next(backbone.parameters()).device) if how.float8 else None
    if not student and (how.fused or how.float8):
        raise ConfigError(f"{how.name}: for the student alone")
    backbone = deepcopy(backbone)
    if how.channels_last:
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
    encoder: Any = backbone.encoder if student else None
    if how.fused:
        encoder.fuse_temporal()
    if how.float8:
        quantise_float8(encoder, quantiser)
    if how.compiled:
        compile_layers(_layers(backbone), dynamic=False)
    if student:
        # Few shapes, whatever the number of frames.
        encoder.save_memory(CLIPS_AT_ONCE if how.compiled else None)
        if how.graphs:
            encoder.graph_chunks()
        if how.frozen:
            encoder.freeze_chunks()
    elif how.frozen:
        assert isinstance(backbone, InternVLTeacher)
        backbone.freeze_frames()
    elif how.graphs:
        backbone.forward = _replayed(backbone.forward)
    if how.cudnn:
        backbone.forward = _by_cudnn(backbone.forward)
    return backbone


def _layers(backbone: nn.Module) -> Iterable[nn.Module]:
    if isinstance(backbone, LiteFrameBackbone):
        return backbone.encoder.blocks
    assert isinstance(backbone, InternVLTeacher)
    tower: Any = backbone.vision_tower
    layers: Iterable[nn.Module] = tower.encoder.layer
    return layers


def _replayed(forward: Callable[[Tensor], VisionTokens]) -> Callable[[Tensor], VisionTokens]:
    graphs = CUDAGraphs()

    def tensors_of(frames_BTCHW: Tensor) -> dict[str, Tensor]:
        return {name: value for name, value in vars(forward(frames_BTCHW)).items() if value is not None}

    return lambda frames_BTCHW: VisionTokens(**graphs(tensors_of, frames_BTCHW))


def _by_cudnn(forward: Callable[[Tensor], VisionTokens]) -> Callable[[Tensor], VisionTokens]:
    def preferred(frames_BTCHW: Tensor) -> VisionTokens:
        with preferring(_CUDNN_FIRST):
            return forward(frames_BTCHW)

    return preferred
