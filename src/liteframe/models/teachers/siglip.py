"""SigLIP and SigLIP2 as teachers: no class token, but an attention pooling whose query says what matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import Siglip2VisionModel, SiglipVisionModel

from liteframe.data.transforms import Colour
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import TeacherSource, TransformersTeacher
from liteframe.ops.saliency import attention_pool_query

_HALF: Colour = (0.5, 0.5, 0.5)


class SiglipTeacher(TransformersTeacher):
    """The vision encoder of a SigLIP, of a SigLIP2 of fixed size (which is the same model), or of a SigLIP2 "NaFlex".

    Positions are interpolated to the size of the frames as transformers does it: bicubic, for NaFlex bilinear with
    antialias. Frames come squashed to that size, where SigLIP's own processors differ in how they resize.

    Args:
        vision_model: the encoder.
        mean, std: of its pixels.
    """

    family = "SigLIP"
    whole_types = ("siglip", "siglip2")
    towers: ClassVar[dict[str, Any]] = {
        "siglip_vision_model": SiglipVisionModel,
        "siglip2_vision_model": Siglip2VisionModel,
    }
    prefix = "vision_model."
    pixels = (_HALF, _HALF)

    def __init__(
        self, vision_model: SiglipVisionModel | Siglip2VisionModel, mean: Colour = _HALF, std: Colour = _HALF
    ) -> None:
        super().__init__(vision_model, mean, std, pool_query_C=_pool_query(vision_model))

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        return TeacherGeometry(config.hidden_size, config.patch_size, getattr(config, "image_size", None))

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

    teacher = SiglipTeacher
    source: str


def _pool_query(model: SiglipVisionModel | Siglip2VisionModel) -> Tensor | None:
    head: Any = getattr(model, "head", None)
    if head is None:
        return None
    query_weight, key_weight, _ = head.attention.in_proj_weight.detach().chunk(3)
    query_bias = head.attention.in_proj_bias.detach().chunk(3)[0]
    return attention_pool_query(head.probe.detach().flatten(), query_weight, query_bias, key_weight)
