"""Every encoder of the comparison by name, at the sizes it is given and with random weights.

A new encoder is one line in `ENCODERS`. None of them can be trained here at real size, so a method has an accuracy
only where it names a tiny relative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import InternVLVisionModel

from liteframe.bench.real_size.shapes import ATTENTION, Shapes
from liteframe.models.backbone import WAP, Compressor, Dense
from liteframe.models.rivals.autogaze import AutoGazeTeacher
from liteframe.models.rivals.timm_backbone import TimmBackbone
from liteframe.models.rivals.tome_vit import ToMeTeacher
from liteframe.models.rivals.video_panda import VideoPandaBackbone
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.encoder_config import PRESETS
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.model import LiteFrameBackbone


@dataclass(frozen=True)
class ComparedEncoder:
    """One encoder of the comparison.

    Attributes:
        label: what it is, in words.
        make: the backbone with random weights, in float32 on the CPU.
        group: "main" (measured along with the LLM at every frame count), "encoder", "mixer", "post-hoc", or "inside"
            for what reduces tokens in the LLM.
        compressor: what makes fewer tokens of its grid.
        frames_per_group: frames behind one `Frame` line where the backbone itself compresses.
        native_size: side in pixels, where it is not that of the others.
        shuffle: whether the base VLM's pixel shuffle stands before the projector; without it the projector is as wide
            as one token, not four.
        accuracy_relative: method of the tiny world whose accuracy may stand beside its latency, if there is one.
        note: what is odd about it.
    """

    label: str
    make: Callable[[Shapes], nn.Module]
    group: str = "encoder"
    compressor: Compressor = field(default_factory=Dense)
    frames_per_group: int | None = None
    native_size: int | None = None
    shuffle: bool = True
    accuracy_relative: str | None = None
    note: str = ""

    def image_size(self, shapes: Shapes) -> int:
        """Side of its frames in pixels."""
        return shapes.image_size if self.native_size is None else shapes.native(self.native_size)


def teacher(shapes: Shapes) -> InternVLTeacher:
    """The base VLM's own image encoder."""
    return InternVLTeacher(InternVLVisionModel(shapes.vision))


def tome_teacher(shapes: Shapes) -> ToMeTeacher:
    """The same, merging tokens in every layer."""
    return ToMeTeacher(teacher(shapes), shapes.tome_merges)


def autogaze(shapes: Shapes) -> AutoGazeTeacher:
    """The same, encoding the patches alone that a gaze model names."""
    return AutoGazeTeacher(teacher(shapes), shapes.gaze)


def student(preset: str = "paper", **changes: Any) -> Callable[[Shapes], LiteFrameBackbone]:
    """A maker of the student of that preset, with changes to its config."""

    def make(shapes: Shapes) -> LiteFrameBackbone:
        return LiteFrameBackbone(LiteFrameEncoder(shapes.student(preset, attention=ATTENTION, **changes)))

    return make


def plain_vit(shapes: Shapes) -> LiteFrameBackbone:
    """The student's own ViT-B without mixers and strides, so that nothing but those differs between the two."""
    plain = {"clip_frames": 1, "downsample_after": (), "downsample_strides": (), "temporal_mixer": "none"}
    return student("paper", **plain)(shapes)


def timm_backbone(name: str, native_size: int | None = None) -> Callable[[Shapes], TimmBackbone]:
    """A maker of that timm model, for frames of the others' size or of its own."""

    def make(shapes: Shapes) -> TimmBackbone:
        side = shapes.image_size if native_size is None else shapes.native(native_size)
        return TimmBackbone.create(name, (side, side), **shapes.timm.get(name, {}))

    return make


def video_panda(shapes: Shapes) -> VideoPandaBackbone:
    """What Video-Panda has in the place of an image encoder."""
    return VideoPandaBackbone((shapes.image_size, shapes.image_size), **shapes.video_panda)


_FASTVIT, _MOBILENET = "fastvit_mci3", "mobilenetv5_300m_enc"
_RELATIVE = "timm's fastvit_mci3, a relative of FastVLM's FastViTHD with the same stages and widths, not that itself"

ENCODERS: dict[str, ComparedEncoder] = {
    "teacher": ComparedEncoder("InternViT-300M", teacher, "main", accuracy_relative="teacher"),
    "teacher+wap": ComparedEncoder(
        "InternViT-300M, WAP 4 x 2 x 2 behind it", teacher, "main", WAP(), accuracy_relative="teacher+wap"
    ),
    "student": ComparedEncoder(
        "LiteFrame, ViT-B/14 with depth-wise mixers and strides",
        student(),
        "main",
        frames_per_group=4,
        accuracy_relative="liteframe-ctd",
    ),
    "tome-teacher+wap": ComparedEncoder(
        "InternViT-300M with ToMe in every layer, WAP 4 x 2 x 2 behind it",
        tome_teacher,
        compressor=WAP(),
        accuracy_relative="tome-teacher+wap",
        note="40 tokens merged in each of 24 layers, 64 of 1024 left; put back on the full grid before WAP",
    ),
    "autogaze": ComparedEncoder(
        "InternViT-300M on the patches that AutoGaze names, frames of 392 px",
        autogaze,
        frames_per_group=16,
        native_size=392,
        note="clips of 16 frames; 212 patches of the first frame and 60 of each later one, which the authors' model"
        " card of NVILA-8B-HD-Video sets as the most: with random weights the number is set, not chosen; 392 px are its"
        " tile for patches of 14 px, 448 px would be padded to 588; four patches make one token of the LLM",
    ),
    **{
        f"student-{preset}": ComparedEncoder(f"LiteFrame, preset {preset!r}", student(preset), frames_per_group=4)
        for preset in PRESETS
        if preset != "paper"
    },
    "vit-b": ComparedEncoder("plain ViT-B/14, the student without mixers and strides", plain_vit),
    "fastvit": ComparedEncoder(
        "FastViT MCi3 at the others' size",
        timm_backbone(_FASTVIT),
        shuffle=False,
        note=f"{_RELATIVE}; 448 px give 7 x 7 tokens, which no pixel shuffle halves: projector without it",
    ),
    "fastvit-1024": ComparedEncoder(
        "FastViT MCi3 at 1024 px, as FastVLM runs its encoder",
        timm_backbone(_FASTVIT, 1024),
        native_size=1024,
        shuffle=False,
        note=f"{_RELATIVE}; 16 x 16 tokens a frame, projector without pixel shuffle as in FastVLM",
    ),
    "mobilenet-v5": ComparedEncoder(
        "MobileNet-v5 300M at the others' size",
        timm_backbone(_MOBILENET),
        note="resizes its maps to 16 x 16 whatever the frame's size; 64 tokens a frame after the pixel shuffle",
    ),
    "mobilenet-v5-768": ComparedEncoder(
        "MobileNet-v5 300M at 768 px, as Gemma 3n runs it",
        timm_backbone(_MOBILENET, 768),
        native_size=768,
        shuffle=False,
        note="16 x 16 tokens a frame, projector without pixel shuffle, as many tokens as Gemma 3n has",
    ),
    "video-panda": ComparedEncoder(
        "Video-Panda, patches and a few small layers without an image encoder",
        video_panda,
        shuffle=False,
        note="sees clips of 4 frames; 273 tokens a frame as there: 16 x 16, one that ends each row, a class token;"
        " projector without pixel shuffle; keys and values are not made of each token, which halves its operations",
    ),
    **{
        f"student-{mixer}": ComparedEncoder(
            f"LiteFrame with the temporal mixer {mixer!r}",
            student(temporal_mixer=mixer),
            "mixer",
            frames_per_group=4,
        )
        for mixer in TEMPORAL_MIXERS
        if mixer != "depthwise"
    },
}
"""Name -> encoder."""
