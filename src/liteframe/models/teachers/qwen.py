"""Qwen2.5-VL's vision encoder as a teacher: patches over two frames, merged 2 x 2, in the width of its LLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.checkpoint import Colour, build, read_config, read_normalization, read_tensors
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import Teacher, TeacherSource

_VISION = "visual."
_CLIP_MEAN: Colour = (OPENAI_CLIP_MEAN[0], OPENAI_CLIP_MEAN[1], OPENAI_CLIP_MEAN[2])
_CLIP_STD: Colour = (OPENAI_CLIP_STD[0], OPENAI_CLIP_STD[1], OPENAI_CLIP_STD[2])


class QwenVLTeacher(Teacher):
    """The vision encoder of a Qwen2.5-VL, its 2 x 2 merger included, so that its tokens are what its LLM sees.

    A token spans two frames and 28 x 28 pixels; it has neither class token nor attention pooling.

    Args:
        visual: the encoder.
        mean, std: of its pixels.
    """

    frame_wise = False

    def __init__(
        self,
        visual: Qwen2_5_VisionTransformerPretrainedModel,
        mean: Colour = _CLIP_MEAN,
        std: Colour = _CLIP_STD,
    ) -> None:
        super().__init__(visual, _geometry(visual.config), mean, std)

    @classmethod
    def from_pretrained(
        cls, source: str, attention: str | None = None, dtype: torch.dtype | None = None
    ) -> QwenVLTeacher:
        """Reads the vision encoder, and nothing of the LLM, from a folder or hub id in transformers' format.

        Args:
            source: a whole Qwen2.5-VL, or its vision encoder.
            attention: "eager", "sdpa" or None for the library's choice.
            dtype: of the weights; None is float32, whatever the file's.

        Raises:
            ConfigError: the folder is missing, of another family, or lacks or has unexpected weights.
        """
        whole, config = _read_configs(source)
        if attention is not None:
            config._attn_implementation = attention
        tensors = read_tensors(source, (_VISION,) if whole else ("",))
        own = {name.removeprefix(_VISION): tensor for name, tensor in tensors.items()}
        visual = build(lambda: Qwen2_5_VisionTransformerPretrainedModel(config), own, source)
        teacher = cls(visual, *read_normalization(source, _CLIP_MEAN, _CLIP_STD))
        return teacher.to(dtype) if dtype is not None else teacher

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Merged tokens (B, T / 2, H, W, C) of every pair of frames."""
        videos = len(frames_BTCHW)
        rows, columns = (side * self.geometry.merge for side in grid[1:])
        shape_3 = torch.tensor([[grid[0], rows, columns]], device=frames_BTCHW.device)
        features = self.tower(self._patches(frames_BTCHW, grid), grid_thw=shape_3.expand(videos, -1)).pooler_output
        return VisionTokens(tokens_BTHWC=features.reshape(videos, *grid, -1))

    def _patches(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Patches one after the other, (M, C * frames * size * size), those that are merged beside each other."""
        frames, rows, columns = grid
        merge, size = self.geometry.merge, self.patch_size
        split = frames_BTCHW.unflatten(1, (frames, self.geometry.frames))
        split = split.unflatten(4, (rows, merge, size)).unflatten(7, (columns, merge, size))
        # (B, T, pair, colour, H, merge, size, W, merge, size) to merged blocks, their patches, and a patch's pixels.
        return split.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).flatten(0, 5).flatten(1)


@dataclass
class QwenVL(TeacherSource):
    """A Qwen2.5-VL of transformers' format, or its vision encoder alone.

    Args:
        source: folder or hub id.
    """

    source: str

    def geometry(self) -> TeacherGeometry:
        return _geometry(_read_configs(self.source)[1])

    def load(self, attention: str | None = None) -> QwenVLTeacher:
        return QwenVLTeacher.from_pretrained(self.source, attention)


def _read_configs(source: str) -> tuple[bool, Any]:
    """Whether a folder or hub id holds a whole Qwen2.5-VL, and the config of its vision encoder."""
    config = read_config(source)
    whole = config.model_type == "qwen2_5_vl"
    vision_config = config.vision_config if whole else config
    if vision_config.model_type != "qwen2_5_vl_vision":
        raise ConfigError(f"{source}: model_type {config.model_type!r} is not of the Qwen2.5-VL family")
    return whole, vision_config


def _geometry(config: Any) -> TeacherGeometry:
    return TeacherGeometry(
        width=config.out_hidden_size,
        patch_size=config.patch_size,
        frames=config.temporal_patch_size,
        merge=config.spatial_merge_size,
    )
