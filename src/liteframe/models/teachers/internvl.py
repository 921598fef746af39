"""InternVL's image encoder as a teacher: the paper's, with the host's projector where there is a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionModel
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.checkpoint import build, read_config, read_tensors
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import Teacher, TeacherSource

_VISION = "vision_tower."
_PROJECTOR = "multi_modal_projector."


def pixel_shuffle(tokens_BHWC: Tensor, ratio: float = 0.5) -> Tensor:
    """InternVL's space-to-channel step: (B, H, W, C) to (B, H * ratio, W * ratio, C / ratio^2)."""
    B, H, W, C = tokens_BHWC.shape
    k = round(1 / ratio)
    blocks = tokens_BHWC.reshape(B, H // k, k, W // k, k, C)
    return blocks.permute(0, 1, 3, 2, 4, 5).reshape(B, H // k, W // k, k * k * C)


class InternVLTeacher(Teacher):
    """The vision tower and projector of an InternVL. Its pixels are normalised as ImageNet is.

    Args:
        vision_tower: the image encoder.
        projector: the host's projector, or None for an encoder on its own.
        downsample_ratio: of the host's pixel shuffle.
    """

    def __init__(
        self,
        vision_tower: InternVLVisionModel,
        projector: InternVLMultiModalProjector | None = None,
        downsample_ratio: float = 0.5,
    ) -> None:
        super().__init__(vision_tower, _geometry(vision_tower.config), class_token=True)
        self.projector = projector if projector is None else projector.requires_grad_(False).eval()
        self.downsample_ratio = downsample_ratio

    @classmethod
    def from_host(cls, host: InternVLForConditionalGeneration) -> InternVLTeacher:
        """Shares the modules of a host that is in memory."""
        return cls(host.model.vision_tower, host.model.multi_modal_projector, host.config.downsample_ratio)

    @classmethod
    def from_pretrained(
        cls, source: str, attention: str | None = None, dtype: torch.dtype | None = None
    ) -> InternVLTeacher:
        """Reads vision tower and projector, and nothing of the LLM, from a folder or hub id in transformers' format.

        Args:
            source: an `InternVLForConditionalGeneration` or an `InternVLVisionModel`.
            attention: "eager", "sdpa" or None for the library's choice.
            dtype: of the weights; None is float32, whatever the file's.

        Raises:
            ConfigError: the folder is missing, of another family, or lacks or has unexpected weights.
        """
        config, vision_config = _read_configs(source)
        host_config = config if isinstance(config, InternVLConfig) else None
        if host_config is not None:
            expected = {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"}
            for field, value in expected.items():
                if getattr(host_config, field) != value:
                    raise ConfigError(
                        f"{source}: config.json has {field} {getattr(host_config, field)!r}; only {value!r} can be read"
                    )
        if attention is not None:
            vision_config._attn_implementation = attention
        tensors = read_tensors(source, (_VISION, _PROJECTOR) if host_config else ("",))
        vision = {k.removeprefix(_VISION): v for k, v in tensors.items() if not k.startswith(_PROJECTOR)}
        tower = build(lambda: InternVLVisionModel(vision_config), vision, source)
        projector = None
        if host_config is not None:
            weights = {k.removeprefix(_PROJECTOR): v for k, v in tensors.items() if k.startswith(_PROJECTOR)}
            projector = build(lambda: InternVLMultiModalProjector(host_config), weights, source)
        teacher = cls(tower, projector, host_config.downsample_ratio if host_config else 0.5)
        return teacher.to(dtype) if dtype is not None else teacher

    @property
    def vision_tower(self) -> InternVLVisionModel:
        """The image encoder."""
        tower: Any = self.tower
        return tower

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that frames are best resized to."""
        size: Any = self.vision_tower.config.image_size
        return size[0], size[1]

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) and class tokens (B, T, C) of every frame."""
        B, T = frames_BTCHW.shape[:2]
        features = self.vision_tower(pixel_values=frames_BTCHW.flatten(0, 1)).last_hidden_state
        return VisionTokens(
            tokens_BTHWC=features[:, 1:].reshape(B, *grid, -1),
            cls_BTC=features[:, 0].reshape(B, T, -1),
        )

    @torch.no_grad()
    def project(self, tokens_BTHWC: Tensor) -> Tensor:
        """Tokens as the LLM sees them: (B, T, H * W * ratio^2, width of the LLM)."""
        if self.projector is None:
            raise ConfigError("this teacher is an encoder on its own; load it from a host to project its features")
        return project_tokens(self.projector, tokens_BTHWC, self.downsample_ratio)


@dataclass
class InternVL(TeacherSource):
    """An InternVL of transformers' format, or its vision encoder alone.

    Args:
        source: folder or hub id.
    """

    source: str

    def geometry(self) -> TeacherGeometry:
        return _geometry(_read_configs(self.source)[1])

    def load(self, attention: str | None = None) -> InternVLTeacher:
        return InternVLTeacher.from_pretrained(self.source, attention)


def project_tokens(projector: nn.Module, tokens_BTHWC: Tensor, ratio: float) -> Tensor:
    """Pixel shuffle, then the projector: (B, T, H, W, C) to (B, T, N, C_llm)."""
    B, T = tokens_BTHWC.shape[:2]
    shuffled = pixel_shuffle(tokens_BTHWC.flatten(0, 1), ratio)
    return projector(shuffled.reshape(B, T, -1, shuffled.shape[-1]))


def _read_configs(source: str) -> tuple[Any, Any]:
    """The config of a folder or hub id, and that of the vision encoder in it."""
    config = read_config(source)
    vision_config: Any = config.vision_config if isinstance(config, InternVLConfig) else config
    if vision_config.model_type != "internvl_vision":
        raise ConfigError(f"{source}: model_type {config.model_type!r} is not of the InternVL family")
    return config, vision_config


def _geometry(config: Any) -> TeacherGeometry:
    return TeacherGeometry(config.hidden_size, config.patch_size[0], config.image_size[0])
