"""What the stages that read a teacher share: which one it is, and what of WAP and of the student follows from it."""

from __future__ import annotations

from typing import Any, Literal

from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Block
from liteframe.models.teachers import PAPER_BLOCK, InternVL, Teacher, TeacherSource

Similarity = Literal["dot", "cosine"]
Saliency = Literal["class_token", "mean_token", "attention_pool", "norm"]


_FOLLOWING = {"patch_size", "output_size", "image_size", "clip_frames", "downsample_strides"}
"""Fields of the student's config that follow from a teacher's geometry, see `TeacherGeometry.student`."""


def teacher_source(teacher: str | TeacherSource) -> TeacherSource:
    """A text is the folder or hub id of an InternVL."""
    return InternVL(teacher) if isinstance(teacher, str) else teacher


def wap_for(
    teacher: str | TeacherSource | None,
    block: tuple[int, int, int] | None,
    similarity: Similarity,
    scale: float | None,
    saliency: Saliency,
) -> WAP:
    """WAP with the block that was given, or the one that makes the paper's of this teacher's tokens.

    Raises:
        ConfigError: no block was given, and the teacher's config cannot be read or leaves none.
    """
    if block is not None:
        chosen: Block = (block[0], block[1], block[2])
    else:
        chosen = teacher.geometry().block() if isinstance(teacher, TeacherSource) else PAPER_BLOCK
    return WAP(chosen, similarity, scale, saliency)


def student_fields(teacher: str | TeacherSource | None, block: Block, given: dict[str, Any]) -> dict[str, Any]:
    """Fields of the student's config: those that were given, and the rest as a teacher given by `class_path` has it.

    Raises:
        ConfigError: the teacher's config cannot be read.
    """
    if not isinstance(teacher, TeacherSource) or set(given) >= _FOLLOWING:
        return given
    return {**teacher.geometry().student(block), **given}


def check_teacher(
    teacher: Teacher, source: TeacherSource, compressor: WAP, image_size: tuple[int, int], clip_frames: int
) -> None:
    """Refuses a teacher whose tokens WAP cannot weigh, or whose grid its blocks do not divide.

    Args:
        teacher: with its weights.
        source: where it comes from, for the message.
        compressor: what pools its tokens.
        image_size: height and width of the data's frames.
        clip_frames: of the data, which pads samples to whole clips.

    Raises:
        ConfigError: names the saliencies that there are, or the nearest sizes that are legal.
    """
    compressor.require(teacher.saliencies, source.source)
    spanned = teacher.geometry.cell(compressor.block)[0]
    if clip_frames % spanned:
        raise ConfigError(f"model.block takes {spanned} frames, which does not divide data.clip_frames {clip_frames}")
    teacher.geometry.require_size(image_size, compressor.block, "data.image_size")
