"""Qwen3-VL's vision encoder as a teacher: patches over two frames, before its mergers, with its DeepStack features."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.qwen import patches_in_blocks
from liteframe.models.teachers.teacher import TeacherSource, TransformersTeacher
from liteframe.ops.pooling import check_size


class Qwen3VLTeacher(TransformersTeacher):
    """The vision encoder of a Qwen3-VL without its mergers, which are its base VLM's projector.

    A token spans two frames and a patch; it has neither class token nor attention pooling. Its channels are the last
    layer's output, then that of each DeepStack layer (`deepstack_visual_indexes`), so that a student is taught all that
    the base VLM's LLM gets of the encoder.

    Args: as `TransformersTeacher`.
    """

    frame_wise = False
    family = "Qwen3-VL"
    whole_types = ("qwen3_vl",)
    # The first versions of transformers 5 call the encoder's config what they call that of the whole.
    towers: ClassVar[dict[str, Any]] = dict.fromkeys(("qwen3_vl_vision", "qwen3_vl"), Qwen3VLVisionModel)
    prefix = "visual."
    pixels = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    processor = "video_processor"
    saliency = "norm"

    def __init__(self, tower: Qwen3VLVisionModel, *args: Any, **kwargs: Any) -> None:
        super().__init__(_without_mergers(tower), *args, **kwargs)

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        layers = config.deepstack_visual_indexes
        depth = config.depth
        if list(layers) != sorted(set(layers)) or not all(0 <= layer < depth for layer in layers):
            raise ConfigError(
                f"{source}: deepstack_visual_indexes of the vision config is {str(list(layers))[:60]}; they must be"
                f" layers from 0 to {depth - 1} in ascending order"
            )
        for name in ("patch_size", "temporal_patch_size", "spatial_merge_size"):
            if type(size := getattr(config, name)) is not int or size < 1:
                raise ConfigError(f"{source}: {name} of the vision config is {str(size)[:60]}; it must be one number")
        if isqrt(config.num_position_embeddings) ** 2 != config.num_position_embeddings:
            raise ConfigError(
                f"{source}: num_position_embeddings of the vision config is {config.num_position_embeddings}, no square"
            )
        width = config.hidden_size * (1 + len(layers))
        return TeacherGeometry(width, config.patch_size, frames=config.temporal_patch_size)

    @property
    def frames_per_group(self) -> int:
        """Frames that a token spans."""
        return self.geometry.frames

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the frames that its learned positions are of; others are interpolated."""
        config: Any = self.tower.config
        side = isqrt(config.num_position_embeddings) * self.patch_size
        return side, side

    @property
    def size_multiple(self) -> tuple[int, int]:
        """Pixels that height and width of a frame are multiples of, before what its mergers ask for."""
        return self.patch_size, self.patch_size

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Tokens (B, T / 2, H, W, C) of every pair of frames, each pair encoded on its own.

        Raises:
            GeometryError: blocks of patches that are merged do not fill the frames.
        """
        config: Any = self.tower.config
        videos, (frames, rows, columns), merge = len(frames_BTCHW), grid, config.spatial_merge_size
        height, width = frames_BTCHW.shape[-2:]
        check_size(height, width, self.patch_size * merge)
        patches = patches_in_blocks(frames_BTCHW, grid, self.geometry.frames, self.patch_size, merge)
        shape_3 = torch.tensor([[frames, rows, columns]], device=frames_BTCHW.device)
        outputs = self.tower(patches, grid_thw=shape_3.expand(videos, -1))
        # The first versions of transformers 5 give a tuple.
        last, deep = outputs if isinstance(outputs, tuple) else (outputs.pooler_output, outputs.deepstack_features)
        tokens_MC = torch.cat([last, *deep], dim=-1)
        blocks = tokens_MC.reshape(videos, frames, rows // merge, columns // merge, merge, merge, -1)
        return VisionTokens(blocks.transpose(3, 4).reshape(videos, *grid, -1))


def _without_mergers(tower: Qwen3VLVisionModel) -> nn.Module:
    """The same encoder, by the same weights, whose outputs are not merged."""
    bare = copy.copy(tower)
    bare._modules = dict(tower._modules)
    bare.merger = nn.Identity()  # type: ignore[assignment]
    bare.deepstack_merger_list = nn.ModuleList([nn.Identity() for _ in tower.config.deepstack_visual_indexes])
    return bare


@dataclass
class Qwen3VL(TeacherSource):
    """A Qwen3-VL of transformers' format, or its vision encoder alone.

    Args:
        source: folder or hub id.
    """

    teacher = Qwen3VLTeacher
    source: str
