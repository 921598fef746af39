"""Tiny vision encoders of several families, every weight of them random, and the folders that their libraries write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from torch import nn
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    VJEPA2Config,
    VJEPA2Model,
    VJEPA2VideoProcessor,
)

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TIMM_SIZES: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 4, "img_size": 56}


def randomise(model: nn.Module) -> nn.Module:
    """Every weight is random, so that nothing can be mixed up unseen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return model.eval()


def siglip_folder(folder: Path, head: bool = True) -> SiglipModel:
    """A SigLIP of 56 px and patches of 14, with its processor."""
    vision = {**SIZES, "image_size": 56, "patch_size": 14, "vision_use_head": head}
    model = SiglipModel(SiglipConfig(vision_config=vision, text_config={**SIZES, "vocab_size": 20}))
    randomise(model).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    return model


def siglip2_folder(folder: Path) -> Siglip2Model:
    """A NaFlex SigLIP2 of patches of 14 and 4 x 4 positions, with its processor."""
    vision = {**SIZES, "patch_size": 14, "num_patches": 16}
    model = Siglip2Model(Siglip2Config(vision_config=vision, text_config={**SIZES, "vocab_size": 20}))
    randomise(model).save_pretrained(folder)
    Siglip2ImageProcessor(patch_size=14, max_num_patches=16).save_pretrained(folder)
    return model


def qwen_folder(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL with windows of 56 px in one layer and full attention in the other, with its processor."""
    text = {**SIZES, "num_key_value_heads": 2, "vocab_size": 20, "hidden_size": 24}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "out_hidden_size": 24,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        text_config=text,
        **{f"{name}_token_id": number for number, name in enumerate(("image", "video", "vision_start", "vision_end"))},
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    randomise(model).save_pretrained(folder)
    Qwen2VLImageProcessor().save_pretrained(folder)
    return model


def vjepa2_folder(folder: Path, kind: type[Any] = VJEPA2Model, **changes: Any) -> Any:
    """A V-JEPA 2 of 56 px, patches of 14 and tubelets of 2 frames, with its processor."""
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2, **predictor}
    pixels = {"crop_size": 56, "patch_size": 14, "frames_per_clip": 4}
    model = kind(VJEPA2Config(**{**sizes, **pixels, "num_pooler_layers": 1, **changes}))
    randomise(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(8 if "attention.query" in name else 1)  # so that attention tells positions apart
    model.save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=56).save_pretrained(folder)
    return model


def videoprism_config(**changes: Any) -> Any:
    """Of a VideoPrism's vision encoder of 56 px, patches of 14 and clips of 4 frames."""
    if not hasattr(transformers, "VideoPrismVisionConfig"):
        pytest.skip("VideoPrism needs transformers 5.15 or later")
    layers = {"num_spatial_layers": 2, "num_temporal_layers": 1, "num_auxiliary_layers": 1}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, **layers}
    return transformers.VideoPrismVisionConfig(
        **{**sizes, "image_size": 56, "num_frames": 4, "tubelet_size": [1, 14, 14], **changes}
    )


def videoprism_folder(folder: Path, kind: str = "VideoPrismVisionModel", **changes: Any) -> Any:
    """A VideoPrism, or a model around one, with the processor that published folders have."""
    config = videoprism_config(**changes)
    if kind == "VideoPrismClipModel":
        text = {"vocab_size": 20, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
        config = transformers.VideoPrismConfig(
            vision_config=config.to_dict(), text_config={**text, "num_attention_heads": 4}
        )
    model = getattr(transformers, kind)(config)
    randomise(model).save_pretrained(folder)
    transformers.LlavaOnevisionVideoProcessor(
        size={"height": 56, "width": 56}, do_normalize=False, do_sample_frames=True, num_frames=4
    ).save_pretrained(folder)
    return model


def timm_model(name: str = "vit_small_patch14_reg4_dinov2", **changes: Any) -> nn.Module:
    """A timm ViT; by default with a class token and four registers, and the size of a DINOv2 cut down."""
    settings = {**TIMM_SIZES, "num_classes": 0, "dynamic_img_size": True, **changes}
    return randomise(timm.create_model(name, **settings))


def timm_folder(folder: Path, **changes: Any) -> nn.Module:
    """`timm_model` as timm saves it."""
    model = timm_model(**changes)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return model
