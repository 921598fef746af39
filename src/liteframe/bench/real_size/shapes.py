"""The sizes that latency is measured at: the paper's, and tiny ones with which everything runs in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import InternVLConfig, InternVLVisionConfig

from liteframe.errors import ConfigError
from liteframe.models.rivals.gazing import GazeConfig
from liteframe.models.student.encoder_config import LiteFrameConfig
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config

SIZES = ("real", "tiny")
ATTENTION = "sdpa"
"""Attention implementation of every encoder and of the LLM, so that none owes its time to another one."""


@dataclass(frozen=True)
class Shapes:
    """What the models are made to.

    Attributes:
        name: "real" or "tiny".
        base_vlm: name of the base VLM whose sizes encoder, projector and LLM have.
        config: of that base VLM.
        image_size: side of the frames in pixels.
        native_sizes: side that a timm encoder was made for -> side here.
        small_students: preset -> the fields of `LiteFrameConfig` that stand for it; published sizes if there are none.
        tome_merges: tokens that ToMe merges in each layer of the teacher.
        timm: timm name -> changes that make it small.
        video_panda: the same of `VideoPandaBackbone`.
        gaze: sizes of AutoGaze's gaze model.
    """

    name: str
    base_vlm: str
    config: InternVLConfig
    image_size: int = 448
    native_sizes: dict[int, int] = field(default_factory=dict)
    small_students: dict[str, dict[str, Any]] = field(default_factory=dict)
    tome_merges: int = 40
    timm: dict[str, dict[str, Any]] = field(default_factory=dict)
    video_panda: dict[str, Any] = field(default_factory=dict)
    gaze: GazeConfig = field(default_factory=GazeConfig)

    @property
    def vision(self) -> InternVLVisionConfig:
        """Sizes of the base VLM's image encoder."""
        vision: Any = self.config.vision_config
        return vision

    def student(self, preset: str, **changes: Any) -> LiteFrameConfig:
        """The student of that preset, or the small one that stands for it."""
        if not self.small_students:
            return LiteFrameConfig.preset(preset, **changes)
        return LiteFrameConfig(**{**self.small_students[preset], **changes})

    def native(self, side: int) -> int:
        """The side that stands for a timm encoder's own."""
        return self.native_sizes.get(side, side)


def shapes(size: str, base_vlm: str) -> Shapes:
    """The sizes of that name.

    Args:
        size: "real" or "tiny".
        base_vlm: published base VLM, for "real".

    Raises:
        ConfigError: another name.
    """
    if size == "real":
        config = base_vlm_config(base_vlm)
        return Shapes("real", base_vlm, _with_attention(config))
    if size == "tiny":
        return _tiny()
    raise ConfigError(f"size must be one of {', '.join(SIZES)}, got {size!r}")


def _tiny() -> Shapes:
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [64, 64],
        "patch_size": [16, 16],
        "attention_bias": True,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": 256,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "max_position_embeddings": 32768,
    }
    config = InternVLConfig(vision_config=vision, text_config=text, image_token_id=255, downsample_ratio=0.5)
    student = {
        "image_size": 64,
        "patch_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "output_size": 32,
        "downsample_after": (1, 2),
    }
    tubelets = {"tubelet_frames": 2, "downsample_strides": [(1, 2, 2), (2, 1, 1)]}
    students = {
        "paper": student,
        "fast": student | tubelets,
        "faster": student | tubelets | {"early_hidden_sizes": (16, 32)},
        "large": student | {"hidden_size": 64, "num_attention_heads": 4},
    }
    few_blocks = {"layers": (1, 1, 1, 1, 1), "embed_dims": (8, 16, 32, 32, 32)}
    return Shapes(
        name="tiny",
        base_vlm="tiny",
        config=_with_attention(config),
        image_size=64,
        native_sizes={1024: 128, 768: 96, 392: 64},
        small_students=students,
        tome_merges=4,
        timm={"fastvit_mci3": few_blocks, "mobilenetv5_300m_enc": {"channel_multiplier": 0.1}},
        video_panda={"width": 32, "patch_size": 16},
        gaze=GazeConfig(
            image_size=32,
            grids=(1, 2),
            hidden_size=16,
            layers=2,
            heads=2,
            intermediate_size=32,
            patches_per_step=2,
            first=3,
            later=2,
        ),
    )


def _with_attention(config: Any) -> InternVLConfig:
    config.vision_config._attn_implementation = config.text_config._attn_implementation = ATTENTION
    base_vlm: InternVLConfig = config
    return base_vlm
