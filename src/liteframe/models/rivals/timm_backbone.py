"""Convolutional and hybrid image encoders of timm as backbones: FastViT, MobileNet-v5 and any other with a feature map.

Vision transformers of timm are teachers, see `liteframe.models.teachers.TimmTeacher`.

FastViTHD, the encoder of FastVLM (arXiv 2412.13303), is not in timm under its name. ``fastvit_mci3`` (MobileCLIP2's)
has the numbers that FastVLM's public code gives for it: five stages of 2, 12, 24, 4 and 2 blocks, widths 96 to 1536,
the same mixers and norm, 3072 channels out, one token for 64 x 64 px. It is a relative: trained otherwise, and details
may differ. ``fastvit_mci4`` is a third wider. Of MobileNet-v5, timm has Gemma 3n's own encoder,
``mobilenetv5_300m_enc``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Colour, normalized_for
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.checkpoint import colour
from liteframe.ops.pooling import check_size


class TimmBackbone(nn.Module):
    """Frame by frame, the last feature map of a timm model as tokens on a grid; it has no class token.

    Args:
        model: of timm, whose `forward_features` gives (M, C, H, W).
        image_size: height and width in pixels that frames are best resized to; by default what the model was made for.
        mean, std: of its pixels, on the 0 to 1 scale.

    Attributes:
        size_multiple: pixels that height and width of a frame must be multiples of.
        width: channels of a token.

    Raises:
        ConfigError: a model without a feature map.
        GeometryError: an `image_size` that it cannot take.
    """

    frame_wise = True

    def __init__(
        self,
        model: Any,
        image_size: tuple[int, int] | None = None,
        mean: Colour = IMAGENET_MEAN,
        std: Colour = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.size_multiple = _reduction(model)
        self.model = model
        self.width: int = model.num_features
        self.mean, self.std = mean, std
        self.image_size: tuple[int, int] = image_size or model.default_cfg["input_size"][-2:]
        check_size(self.image_size[0], self.image_size[1], self.size_multiple)

    @classmethod
    def create(
        cls, name: str, image_size: tuple[int, int] | None = None, pretrained: bool = False, **settings: Any
    ) -> TimmBackbone:
        """A model by its timm name, with the colours that timm knows it by.

        Branches that can be folded into one convolution, as those of FastViT, are: it runs as it would be deployed.

        Args:
            name: such as fastvit_mci3 or mobilenetv5_300m_enc.
            image_size: see the class.
            pretrained: whether to read its weights, from timm's cache or the hub.
            settings: changes to the model, such as smaller widths.

        Raises:
            ConfigError: no such model, or weights out of reach.
        """
        import timm  # here, because it takes a second that no other backbone needs
        from timm.data import resolve_model_data_config
        from timm.utils import reparameterize_model

        try:
            model: Any = timm.create_model(name, pretrained=pretrained, num_classes=0, **settings)
        except Exception as error:  # timm and the hub's client have no common base for "not there"
            raise ConfigError(
                f"{name}: timm cannot make this model ({error}); give a name that `timm.list_models` shows, and with"
                " pretrained one whose weights are within reach"
            ) from error
        pixels = resolve_model_data_config(model)
        # Convolutions of bfloat16 are several times faster with channels last.
        folded = reparameterize_model(model, inplace=True).to(memory_format=torch.channels_last)
        return cls(folded, image_size, colour(pixels["mean"]), colour(pixels["std"]))

    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Tokens (B, T, H, W, C) of frames, uint8 or normalised as ImageNet is.

        Raises:
            GeometryError: a shape or size that the model cannot take; names the nearest sizes that it can.
        """
        if frames_BTCHW.ndim != 5:
            raise GeometryError(f"frames must have the axes (B, T, C, H, W), got shape {tuple(frames_BTCHW.shape)}")
        B, T, _, height, width = frames_BTCHW.shape
        check_size(height, width, self.size_multiple)
        frames_MCHW = normalized_for(frames_BTCHW, self.mean, self.std).flatten(0, 1)
        frames_MCHW = frames_MCHW.to(next(self.model.parameters()).dtype, memory_format=torch.channels_last)
        features_MCHW = self.model.forward_features(frames_MCHW)
        return VisionTokens(features_MCHW.permute(0, 2, 3, 1).unflatten(0, (B, T)).contiguous())


def _reduction(model: Any) -> int:
    """Pixels a side behind one cell of the last feature map; MobileNet-v5 resizes its maps to one grid afterwards."""
    stages = getattr(model, "feature_info", None)
    if not stages or not hasattr(model, "forward_features") or not model.num_features:
        raise ConfigError(f"{type(model).__name__} says nothing of its feature maps; give a convolutional timm model")
    if getattr(model, "num_prefix_tokens", None) is not None:
        raise ConfigError(
            f"{type(model).__name__} gives a row of tokens and no feature map; take it as a teacher (TimmViT)"
        )
    return max(stage["reduction"] for stage in stages)
