"""Qwen2.5-VL's vision encoder as a teacher: patches over two frames, merged 2 x 2, in the width of its LLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from liteframe.data.transforms import Colour
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import TeacherSource, TransformersTeacher

_CLIP_MEAN: Colour = (OPENAI_CLIP_MEAN[0], OPENAI_CLIP_MEAN[1], OPENAI_CLIP_MEAN[2])
_CLIP_STD: Colour = (OPENAI_CLIP_STD[0], OPENAI_CLIP_STD[1], OPENAI_CLIP_STD[2])


class QwenVLTeacher(TransformersTeacher):
    """The vision encoder of a Qwen2.5-VL, its 2 x 2 merger included, so that its tokens are what its LLM sees.

    A token spans two frames and 28 x 28 pixels; it has neither class token nor attention pooling.

    Args: as `TransformersTeacher`.
    """

    frame_wise = False
    family = "Qwen2.5-VL"
    whole_types = ("qwen2_5_vl",)
    towers: ClassVar[dict[str, Any]] = {"qwen2_5_vl_vision": Qwen2_5_VisionTransformerPretrainedModel}
    prefix = "visual."
    pixels = (_CLIP_MEAN, _CLIP_STD)

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        return TeacherGeometry(
            width=config.out_hidden_size,
            patch_size=config.patch_size,
            frames=config.temporal_patch_size,
            merge=config.spatial_merge_size,
        )

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Merged tokens (B, T / 2, H, W, C) of every pair of frames."""
        videos = len(frames_BTCHW)
        rows, columns = (side * self.geometry.merge for side in grid[1:])
        shape_3 = torch.tensor([[grid[0], rows, columns]], device=frames_BTCHW.device)
        patches = patches_in_blocks(
            frames_BTCHW, (grid[0], rows, columns), self.geometry.frames, self.patch_size, self.geometry.merge
        )
        features = self.tower(patches, grid_thw=shape_3.expand(videos, -1)).pooler_output
        return VisionTokens(tokens_BTHWC=features.reshape(videos, *grid, -1))


def patches_in_blocks(frames_BTCHW: Tensor, grid: tuple[int, int, int], spanned: int, size: int, merge: int) -> Tensor:
    """Patches one after the other, (M, C * spanned * size * size), those that are merged beside each other.

    Args:
        frames_BTCHW: pixels.
        grid: of the patches: how many in time, rows and columns.
        spanned: frames of a patch.
        size: side of a patch in pixels.
        merge: patches a side that become one token.
    """
    frames, rows, columns = grid
    split = frames_BTCHW.unflatten(1, (frames, spanned))
    split = split.unflatten(4, (rows // merge, merge, size)).unflatten(7, (columns // merge, merge, size))
    # (B, T, pair, colour, H, merge, size, W, merge, size) to merged blocks, their patches, and a patch's pixels.
    return split.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).flatten(0, 5).flatten(1)


@dataclass
class QwenVL(TeacherSource):
    """A Qwen2.5-VL of transformers' format, or its vision encoder alone.

    Args:
        source: folder or hub id.
    """

    teacher = QwenVLTeacher
    source: str
