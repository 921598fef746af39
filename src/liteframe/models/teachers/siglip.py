"""SigLIP and SigLIP2 as teachers: no class token, but an attention pooling whose query says what matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Siglip2VisionModel, SiglipVisionModel

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.checkpoint import Colour, build, read_config, read_normalization, read_tensors
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import Teacher, TeacherSource
from liteframe.ops.saliency import attention_pool_query

_VISION = "vision_model."
_MODELS: dict[str, type[SiglipVisionModel] | type[Siglip2VisionModel]] = {
    "siglip_vision_model": SiglipVisionModel,
    "siglip2_vision_model": Siglip2VisionModel,
}
_HALF: Colour = (0.5, 0.5, 0.5)


class SiglipTeacher(Teacher):
    """The vision encoder of a SigLIP, of a SigLIP2 of fixed size (which is the same model), or of a SigLIP2 "NaFlex".

    Positions are interpolated to the size of the frames as transformers does it: bicubic, for NaFlex bilinear with
    antialias. Frames come squashed to that size, where SigLIP's own processors differ in how they resize.

    Args:
        vision_model: the encoder.
        mean, std: of its pixels.
    """

    def __init__(
        self, vision_model: SiglipVisionModel | Siglip2VisionModel, mean: Colour = _HALF, std: Colour = _HALF
    ) -> None:
        query_C = _pool_query(vision_model)
        super().__init__(vision_model, _geometry(vision_model.config), mean, std, pool_query_C=query_C)

    @classmethod
    def from_pretrained(
        cls, source: str, attention: str | None = None, dtype: torch.dtype | None = None
    ) -> SiglipTeacher:
        """Reads the vision encoder, and nothing of the text encoder, from a folder or hub id in transformers' format.

        Args:
            source: a whole SigLIP or SigLIP2, or its vision encoder.
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
        model = build(lambda: _MODELS[config.model_type](config), own, source)
        teacher = cls(model, *read_normalization(source, _HALF, _HALF))
        return teacher.to(dtype) if dtype is not None else teacher

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) of every frame, and the query of the attention pooling."""
        frames_BCHW = frames_BTCHW.flatten(0, 1)
        if isinstance(self.tower, Siglip2VisionModel):
            features = self._of_patches(self.tower, frames_BCHW, grid[1:])
        else:
            features = self.tower(pixel_values=frames_BCHW, interpolate_pos_encoding=True).last_hidden_state
        return VisionTokens(
            tokens_BTHWC=features.reshape(len(frames_BTCHW), *grid, -1),
            pool_query_C=self.pool_query_C,
        )

    def _of_patches(self, model: Siglip2VisionModel, frames_BCHW: Tensor, grid: tuple[int, int]) -> Tensor:
        """NaFlex takes patches, each with its pixels in the order (row, column, colour)."""
        rows, columns = grid
        size = self.patch_size
        split = frames_BCHW.unflatten(2, (rows, size)).unflatten(4, (columns, size))
        patches_BNC = split.permute(0, 2, 4, 3, 5, 1).reshape(len(frames_BCHW), rows * columns, -1)
        shapes_B2 = torch.tensor([[rows, columns]], device=frames_BCHW.device).expand(len(frames_BCHW), -1)
        mask_BN = torch.ones(patches_BNC.shape[:2], dtype=torch.long, device=frames_BCHW.device)
        return model(pixel_values=patches_BNC, pixel_attention_mask=mask_BN, spatial_shapes=shapes_B2).last_hidden_state


@dataclass
class Siglip(TeacherSource):
    """A SigLIP or SigLIP2 of transformers' format, or its vision encoder alone.

    Args:
        source: folder or hub id.
    """

    source: str

    def geometry(self) -> TeacherGeometry:
        return _geometry(_read_configs(self.source)[1])

    def load(self, attention: str | None = None) -> SiglipTeacher:
        return SiglipTeacher.from_pretrained(self.source, attention)


def _read_configs(source: str) -> tuple[bool, Any]:
    """Whether a folder or hub id holds a whole SigLIP, and the config of its vision encoder."""
    config = read_config(source)
    whole = config.model_type in ("siglip", "siglip2")
    vision_config = config.vision_config if whole else config
    if vision_config.model_type not in _MODELS:
        raise ConfigError(f"{source}: model_type {config.model_type!r} is not of the SigLIP family")
    return whole, vision_config


def _geometry(config: Any) -> TeacherGeometry:
    return TeacherGeometry(config.hidden_size, config.patch_size, getattr(config, "image_size", None))


def _pool_query(model: SiglipVisionModel | Siglip2VisionModel) -> Tensor | None:
    head: Any = getattr(model, "head", None)
    if head is None:
        return None
    query_weight, key_weight, _ = head.attention.in_proj_weight.detach().chunk(3)
    query_bias = head.attention.in_proj_bias.detach().chunk(3)[0]
    return attention_pool_query(head.probe.detach().flatten(), query_weight, query_bias, key_weight)
