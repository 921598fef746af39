"""LLaVA-OneVision's SigLIP as a teacher: the layer that its base VLM reads, which is not SigLIP's own output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import LlavaOnevisionConfig, SiglipVisionModel

from liteframe.data.transforms import Colour
from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import TeacherSource, TransformersTeacher


class LlavaOnevisionTeacher(TransformersTeacher):
    """The SigLIP of a LLaVA-OneVision, up to the layer that its projector takes, without SigLIP's last norm.

    It has neither class token nor attention pooling. Its base VLM shows it frames of `image_size`, which whole patches
    need not fill: of 384 px, patches of 14 leave 6 out at the right and at the bottom, and 27 x 27 are seen. Those are
    taken here too; of other sizes only what patches fill, with interpolated positions.

    Args:
        vision_tower: the encoder.
        mean, std: of its pixels.
        layer: whose output is read, as `vision_feature_layer` says: a number among the embeddings and what each layer
            gives.
    """

    family = "LLaVA-OneVision"
    whole_types = ("llava_onevision",)
    towers: ClassVar[dict[str, Any]] = {"siglip_vision_model": lambda config: _bare(SiglipVisionModel(config))}
    prefix = "vision_tower."
    inner_prefix = "vision_model."
    pixels = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    processor = "video_processor"
    saliency = "norm"

    def __init__(
        self, vision_tower: nn.Module, mean: Colour | None = None, std: Colour | None = None, layer: int = -1
    ) -> None:
        super().__init__(_bare(vision_tower), mean, std)
        self.layer = layer

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        for name in ("image_size", "patch_size"):
            if type(size := getattr(config, name)) is not int or size < 1:
                raise ConfigError(f"{source}: {name} of the vision config is {str(size)[:60]}; it must be one number")
        return TeacherGeometry(config.hidden_size, config.patch_size, config.image_size, cropped=True)

    @classmethod
    def require_readable(cls, whole: LlavaOnevisionConfig, source: str) -> None:
        kind = getattr(whole.vision_config, "model_type", None)
        if kind not in cls.towers:
            raise ConfigError(cls.other_tower(str(kind), source))
        cls.geometry_of(whole.vision_config, source)
        feature_layer(whole, source)

    @classmethod
    def parts_of(cls, whole: LlavaOnevisionConfig, tensors: dict[str, Tensor], source: str) -> dict[str, Any]:
        return {"layer": feature_layer(whole, source)}

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the frames that its base VLM shows it."""
        side = self.geometry.image_size
        assert side is not None
        return side, side

    @property
    def cropped_size(self) -> tuple[int, int]:
        """The size of frames that it takes though patches may not fill them."""
        return self.image_size

    @property
    def size_multiple(self) -> tuple[int, int]:
        """Pixels that height and width of frames of other sizes are multiples of."""
        return self.patch_size, self.patch_size

    def describe(self) -> dict[str, Any]:
        """As `Teacher.describe`, with the layer that is read."""
        return {**super().describe(), "layer": self.layer}

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) of every frame; layers behind the one that is read are not run."""
        tower: Any = self.tower
        layers = tower.encoder.layers
        # Not by the tower's own forward, whose capturing of outputs no compiler reads.
        features_FNC = tower.embeddings(frames_BTCHW.flatten(0, 1), interpolate_pos_encoding=True)
        for layer in layers[: self.layer if self.layer >= 0 else len(layers) + 1 + self.layer]:
            features_FNC = layer(features_FNC, attention_mask=None)
        return VisionTokens(features_FNC.reshape(len(frames_BTCHW), *grid, -1))


@dataclass
class LlavaOnevision(TeacherSource):
    """A LLaVA-OneVision of transformers' format, or its SigLIP alone.

    Args:
        source: folder or hub id.
    """

    teacher = LlavaOnevisionTeacher
    source: str


def _bare(tower: Any) -> nn.Module:
    """The encoder itself; the first versions of transformers 5 have it inside of a module of its own."""
    inner: nn.Module = getattr(tower, "vision_model", tower)
    return inner


def feature_layer(config: LlavaOnevisionConfig, source: str) -> int:
    """Which of its encoder's layers a base VLM reads.

    Raises:
        ConfigError: several, one that the encoder does not have, or patches without the first of them.
    """
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    vision: Any = config.vision_config
    layers = vision.num_hidden_layers
    if type(layer) is not int or not -layers - 1 <= layer <= layers:
        raise ConfigError(
            f"{source}: vision_feature_layer of config.json is {str(layer)[:60]}; only one layer can be read, from"
            f" {-layers - 1} to {layers}"
        )
    if strategy != "full":
        raise ConfigError(
            f"{source}: vision_feature_select_strategy of config.json is {str(strategy)[:60]!r}; only 'full' can be"
            " read: a SigLIP has no class token to leave out"
        )
    return layer
