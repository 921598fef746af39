"""InternVL's image encoder as a teacher: the paper's, with the base VLM's projector where there is a base VLM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionModel
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Colour
from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.folders.model_folder import local_folder
from liteframe.models.folders.training_record import RECORD
from liteframe.models.teachers.checkpoint import build, read_normalization
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import TeacherSource, TransformersTeacher
from liteframe.system.own_folder import is_own

_PROJECTOR = "multi_modal_projector."


def pixel_shuffle(tokens_BHWC: Tensor, ratio: float = 0.5) -> Tensor:
    """InternVL's space-to-channel step: (B, H, W, C) to (B, H * ratio, W * ratio, C / ratio^2)."""
    B, H, W, C = tokens_BHWC.shape
    k = round(1 / ratio)
    blocks = tokens_BHWC.reshape(B, H // k, k, W // k, k, C)
    return blocks.permute(0, 1, 3, 2, 4, 5).reshape(B, H // k, W // k, k * k * C)


class InternVLTeacher(TransformersTeacher):
    """The vision tower and projector of an InternVL.

    Args:
        vision_tower: the image encoder.
        projector: the base VLM's projector, or None for an encoder on its own.
        downsample_ratio: of the base VLM's pixel shuffle.
        feature_layer: whose output the base VLM reads, as its `vision_feature_layer` says: -1 is the encoder's own
            output, behind its last norm; else a number among the embeddings and what each layer gives.
        mean, std: of the pixels that it was trained on, see `Teacher`.
    """

    family = "InternVL"
    whole_types = ("internvl",)
    towers: ClassVar[dict[str, Any]] = {"internvl_vision": InternVLVisionModel}
    prefix = "vision_tower."
    other_prefixes = (_PROJECTOR,)
    pixels = (IMAGENET_MEAN, IMAGENET_STD)

    def __init__(
        self,
        vision_tower: InternVLVisionModel,
        projector: InternVLMultiModalProjector | None = None,
        downsample_ratio: float = 0.5,
        feature_layer: int = -1,
        mean: Colour = IMAGENET_MEAN,
        std: Colour = IMAGENET_STD,
    ) -> None:
        super().__init__(vision_tower, mean, std, class_token=True)
        self.feature_layer = feature_layer
        self.projector = projector if projector is None else projector.requires_grad_(False).eval()
        self.downsample_ratio = downsample_ratio

    @classmethod
    def from_host(cls, host: InternVLForConditionalGeneration) -> InternVLTeacher:
        """Shares the modules of a base VLM that is in memory."""
        layer, pixels = feature_layer(host.config, "the base VLM"), pixel_colours(host.config.name_or_path)
        model = host.model
        return cls(model.vision_tower, model.multi_modal_projector, host.config.downsample_ratio, layer, *pixels)

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        for name in ("image_size", "patch_size"):
            height, width = getattr(config, name)
            if height != width:
                raise ConfigError(
                    f"{source}: {name} of the image encoder is {height} x {width}; only squares can be read"
                )
        return TeacherGeometry(config.hidden_size, config.patch_size[0], config.image_size[0])

    @classmethod
    def options(cls, source: str) -> str:
        return f"--model.teacher {source}"

    @classmethod
    def require_readable(cls, whole: InternVLConfig, source: str) -> None:
        require_readable(whole, source)

    @classmethod
    def parts_of(cls, whole: InternVLConfig, tensors: dict[str, Tensor], source: str) -> dict[str, Any]:
        weights = {k.removeprefix(_PROJECTOR): v for k, v in tensors.items() if k.startswith(_PROJECTOR)}
        return {
            "projector": build(lambda: InternVLMultiModalProjector(whole), weights, source),
            "downsample_ratio": whole.downsample_ratio,
            "feature_layer": feature_layer(whole, source),
        }

    @classmethod
    def read_pixels(cls, source: str) -> tuple[Colour, Colour]:
        return pixel_colours(str(local_folder(source)))

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

    @property
    def size_multiple(self) -> tuple[int, int]:
        """Pixels that height and width of a frame are multiples of."""
        return self.patch_size, self.patch_size

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) and class tokens (B, T, C) of every frame."""
        B, T = frames_BTCHW.shape[:2]
        features = self._features(frames_BTCHW.flatten(0, 1))
        return VisionTokens(
            tokens_BTHWC=features[:, 1:].reshape(B, *grid, -1),
            cls_BTC=features[:, 0].reshape(B, T, -1),
        )

    def _features(self, frames_FCHW: Tensor) -> Tensor:
        """What the base VLM reads, (F, 1 + N, C), with the class token in front; layers behind it are not run."""
        tower: Any = self.vision_tower
        # Not by the tower's own forward, whose capturing of outputs no compiler reads.
        features_FNC = tower.embeddings(frames_FCHW)
        for layer in tower.encoder.layer[: self.layers_run]:
            features_FNC = layer(features_FNC)
        return tower.layernorm(features_FNC) if self.feature_layer == -1 else features_FNC

    @property
    def layers_run(self) -> int:
        """How many layers of the encoder there are up to the one that is read."""
        layers = len(self.vision_tower.encoder.layer)
        return self.feature_layer if self.feature_layer >= 0 else layers + 1 + self.feature_layer

    def describe(self) -> dict[str, Any]:
        """As `Teacher.describe`, with the layer that is read."""
        return {**super().describe(), "layer": self.feature_layer}

    @torch.no_grad()
    def project(self, tokens_BTHWC: Tensor) -> Tensor:
        """Tokens as the LLM sees them: (B, T, H * W * ratio^2, width of the LLM)."""
        if self.projector is None:
            raise ConfigError("this teacher is an encoder on its own; load it from a base VLM to project its features")
        return project_tokens(self.projector, tokens_BTHWC, self.downsample_ratio)


@dataclass
class InternVL(TeacherSource):
    """An InternVL of transformers' format, or its vision encoder alone.

    Args:
        source: folder or hub id.
    """

    teacher = InternVLTeacher
    source: str


def project_tokens(projector: nn.Module, tokens_BTHWC: Tensor, ratio: float) -> Tensor:
    """Pixel shuffle, then the projector: (B, T, H, W, C) to (B, T, N, C_llm)."""
    B, T = tokens_BTHWC.shape[:2]
    shuffled = pixel_shuffle(tokens_BTHWC.flatten(0, 1), ratio)
    return projector(shuffled.reshape(B, T, -1, shuffled.shape[-1]))


def pixel_colours(folder: str | None) -> tuple[Colour, Colour]:
    """Mean and standard deviation of the pixels that a base VLM was trained on, as its image processor says.

    Exports of liteframe's of before they carried a record saw them as ImageNet's are, though the tiny base VLM's say
    otherwise.

    Args:
        folder: of the base VLM; anything else stands for a base VLM that was made in memory, and is as ImageNet.

    Raises:
        ConfigError: as `read_normalization`.
    """
    if folder is None or not os.path.isdir(folder):
        return IMAGENET_MEAN, IMAGENET_STD
    if is_own(folder) and not os.path.isfile(os.path.join(folder, RECORD)):
        return IMAGENET_MEAN, IMAGENET_STD
    return read_normalization(folder, IMAGENET_MEAN, IMAGENET_STD)


def require_readable(config: InternVLConfig, source: str) -> None:
    """Raises ConfigError, by the name of the field, where a base VLM's config asks for what is done otherwise here."""
    feature_layer(config, source)
    InternVLTeacher.geometry_of(config.vision_config, source)
    ratio = config.downsample_ratio
    if not 0 < ratio <= 1 or abs(1 / ratio - round(1 / ratio)) > 1e-6:
        raise ConfigError(f"{source}: downsample_ratio of config.json is {ratio}; it must be 1, 1/2, 1/3, ...")


def feature_layer(config: InternVLConfig, source: str) -> int:
    """Which of its image encoder's layers a base VLM reads.

    Raises:
        ConfigError: several, one that the encoder does not have, or the class token along with the patches.
    """
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    layers = config.vision_config.num_hidden_layers  # type: ignore[union-attr]
    if type(layer) is not int or not -layers - 1 <= layer <= layers:
        raise ConfigError(
            f"{source}: vision_feature_layer of config.json is {str(layer)[:60]}; only one layer can be read, from"
            f" {-layers - 1} to {layers}"
        )
    if strategy != "default":
        raise ConfigError(
            f"{source}: vision_feature_select_strategy of config.json is {str(strategy)[:60]!r}; only 'default' can be"
            " read: the patches without the class token"
        )
    return layer
