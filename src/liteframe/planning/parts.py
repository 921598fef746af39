"""What every plan is made of: parts of a model, kinds of batches, and how many tokens are left at each point."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import InternVLVisionModel

from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig
from liteframe.models.teachers import InternVL, TeacherSource, read_config
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config
from liteframe.ops.pooling import Block, check_size
from liteframe.planning.memory import Part

SHUFFLED = "after the pixel shuffle"


@dataclass(frozen=True)
class BatchPlan:
    """One kind of batch.

    Attributes:
        frames: of a video.
        batch_size: videos on each GPU.
        weight: how often it is drawn, relative to the others.
        tokens: of a video, at each point of its way.
        flops: of a video, forward and where it trains backward, for each part.
        activations: bytes on each GPU, an estimate.
        inputs: bytes of its frames on each GPU.
    """

    frames: int
    batch_size: int
    weight: float
    tokens: dict[str, int]
    flops: dict[str, float]
    activations: float
    inputs: float


@dataclass(frozen=True)
class Target:
    """What the cache stage stores of a sample.

    Attributes:
        clips: in a sample, each of `grid` (rows, columns) tokens of `channels` numbers in `dtype`.
        frames_bytes: of the sample's frames, if they are kept too.
    """

    clips: int
    grid: tuple[int, int]
    channels: int
    dtype: str
    frames_bytes: float


@dataclass(frozen=True)
class StagePlan:
    """What a stage takes, whatever the machine and the number of videos.

    Attributes:
        stage: its class.
        models: what it reads.
        clip_tokens: of one clip, at each point of its way.
        parts: of the model, as they lie in memory.
        batches: kinds of batches.
        split: of the data that it reads.
        target: what it stores; None for a stage that trains.
        notes: what was assumed.
    """

    stage: str
    models: list[str]
    clip_tokens: dict[str, int]
    parts: list[Part]
    batches: list[BatchPlan]
    split: str = "train"
    target: Target | None = None
    notes: list[str] = field(default_factory=list)


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def part(name: str, module: nn.Module, trained: bool, bytes_each: int = 4) -> Part:
    """A module that is trained as a whole or not at all, and gathered as a whole where weights are shared out."""
    parameters = count(module)
    return Part(name, parameters, parameters if trained else 0, bytes_each, parameters)


def vision_config(teacher: str | TeacherSource) -> tuple[Any, float]:
    """The image encoder's config of a teacher, and the ratio of its base VLM's pixel shuffle (0.5 without a base VLM).

    Raises:
        ConfigError: it is no InternVL.
    """
    source = source_name(teacher)
    if isinstance(teacher, TeacherSource) and not isinstance(teacher, InternVL):
        raise ConfigError(f"{type(teacher).__name__} {source}: only stages whose teacher is an InternVL can be planned")
    config = read_config(source) if Path(source).is_dir() else base_vlm_config(source)
    vision = getattr(config, "vision_config", config)
    if vision.model_type != "internvl_vision":
        raise ConfigError(f"{source}: model_type {config.model_type!r} is not of the InternVL family")
    return vision, getattr(config, "downsample_ratio", 0.5)


def frame_size(vision: Any, block: Block) -> tuple[int, int]:
    """Height and width that an image encoder was made for, enlarged to what blocks of its tokens fill."""
    height, width = (
        -(-side // (patch * step)) * patch * step
        for side, patch, step in zip(vision.image_size, vision.patch_size, block[1:], strict=True)
    )
    return height, width


def source_name(teacher: str | TeacherSource) -> str:
    """Folder or hub id of a teacher."""
    return teacher.source if isinstance(teacher, TeacherSource) else teacher


def teacher_part(vision: Any) -> Part:
    """The frozen image encoder, in float32 and whole on every GPU."""
    with torch.device("meta"):
        return Part("teacher", count(InternVLVisionModel(vision)), 0, 4)


def require_width(config: LiteFrameConfig, vision: Any, source: str) -> None:
    """Raises ConfigError where the student's features are not of the image encoder's width."""
    if config.output_size != vision.hidden_size:
        raise ConfigError(
            f"{source}: the student's features have a width of {config.output_size}, the image encoder's"
            f" {vision.hidden_size}; set model.encoder.output_size of CTD to {vision.hidden_size}"
        )


def student_points(config: LiteFrameConfig, size: tuple[int, int], ratio: float) -> dict[str, int]:
    """Tokens of a clip at each point. Raises GeometryError for frames that do not fill the grid."""
    check_size(*size, config.size_multiple)
    patches = config.clip_frames * prod(side // config.patch_size for side in size)
    left = patches // prod(config.stride)
    return with_shuffle({"patches": patches // config.tubelet_frames, "after the student": left}, ratio)


def with_shuffle(points: dict[str, int], ratio: float) -> dict[str, int]:
    """The points and one more, where the base VLM's pixel shuffle has moved tokens into channels."""
    return {**points, SHUFFLED: round(list(points.values())[-1] * ratio**2)}


def of_video(points: dict[str, int], clips: int, kept: float | None = None) -> dict[str, int]:
    """Tokens of so many clips.

    Args:
        points: of one clip; the first is what goes in.
        clips: that go in, the last of them filled up.
        kept: clips' worth of tokens that come out, without those that hold nothing but what fills up; all if None.
    """
    (first, patches), *rest = points.items()
    return {first: clips * patches, **{point: round((clips if kept is None else kept) * n) for point, n in rest}}


def whole_clips(config: LiteFrameConfig, frames: int) -> float:
    """Clips' worth of tokens that the student gives of so many frames, see `of_video`."""
    return -(-frames // config.stride[0]) * config.stride[0] / config.clip_frames
