"""Tiny vision encoders of several families, every weight of them random, and the folders that their libraries write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
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


def timm_model(name: str = "vit_small_patch14_reg4_dinov2", **changes: Any) -> nn.Module:
    """A timm ViT; by default with a class token and four registers, and the size of a DINOv2 cut down."""
    settings = {**TIMM_SIZES, "num_classes": 0, "dynamic_img_size": True, **changes}
    return randomise(timm.create_model(name, **settings))


def timm_folder(folder: Path, **changes: Any) -> nn.Module:
    """`timm_model` as timm saves it."""
    model = timm_model(**changes)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return model
