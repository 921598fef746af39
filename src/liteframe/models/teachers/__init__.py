"""Teachers: vision encoders that are read, never trained, all by one protocol (`Teacher`)."""

from __future__ import annotations

from liteframe.models.teachers.checkpoint import read_config, weight_files
from liteframe.models.teachers.clips import ClipTeacherSource
from liteframe.models.teachers.geometry import PAPER_BLOCK, TeacherGeometry
from liteframe.models.teachers.internvl import (
    InternVL,
    InternVLTeacher,
    feature_layer,
    pixel_colours,
    pixel_shuffle,
    project_tokens,
    require_readable,
)
from liteframe.models.teachers.llava_onevision import LlavaOnevision, LlavaOnevisionTeacher
from liteframe.models.teachers.qwen import QwenVL, QwenVLTeacher
from liteframe.models.teachers.qwen3 import Qwen3VL, Qwen3VLTeacher
from liteframe.models.teachers.siglip import Siglip, SiglipTeacher
from liteframe.models.teachers.teacher import Teacher, TeacherSource, TransformersTeacher, weights_sha256
from liteframe.models.teachers.timm_vit import TimmTeacher, TimmViT
from liteframe.models.teachers.videoprism import VideoPrism, VideoPrismTeacher, require_videoprism
from liteframe.models.teachers.vjepa2 import VJEPA2, VJEPA2Teacher

__all__ = [
    "PAPER_BLOCK",
    "VJEPA2",
    "ClipTeacherSource",
    "InternVL",
    "InternVLTeacher",
    "LlavaOnevision",
    "LlavaOnevisionTeacher",
    "Qwen3VL",
    "Qwen3VLTeacher",
    "QwenVL",
    "QwenVLTeacher",
    "Siglip",
    "SiglipTeacher",
    "Teacher",
    "TeacherGeometry",
    "TeacherSource",
    "TimmTeacher",
    "TimmViT",
    "TransformersTeacher",
    "VJEPA2Teacher",
    "VideoPrism",
    "VideoPrismTeacher",
    "feature_layer",
    "pixel_colours",
    "pixel_shuffle",
    "project_tokens",
    "read_config",
    "require_readable",
    "require_videoprism",
    "weight_files",
    "weights_sha256",
]
