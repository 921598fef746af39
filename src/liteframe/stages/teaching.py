"""What the stages that read a teacher share: which one it is, what is made of it, and what of the student follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

from liteframe.data.frame_spec import FrameSpec
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.backbone import WAP, Block, Dense, Pool
from liteframe.models.compression import PAPER_PLACES, default_clip, place_strides
from liteframe.models.encoder_config import strides_of
from liteframe.models.teachers import PAPER_BLOCK, InternVL, Teacher, TeacherSource

Similarity = Literal["dot", "cosine"]
Saliency = Literal["class_token", "mean_token", "attention_pool", "norm"]
Target = Literal["wap", "average", "max", "dense"]
"""What the student is taught: WAP of the teacher's tokens, their mean or maximum over such blocks, or all of them."""
TargetMaker = WAP | Pool | Dense

_FOLLOWING = {"patch_size", "output_size", "image_size", "clip_frames", "downsample_strides"}
"""Fields of the student's config that follow from a teacher's geometry, see `TeacherGeometry.student`."""


def teacher_source(teacher: str | TeacherSource) -> TeacherSource:
    """A text is the folder or hub id of an InternVL."""
    return InternVL(teacher) if isinstance(teacher, str) else teacher


def target_maker(
    target: Target,
    teacher: str | TeacherSource | None,
    block: tuple[int, int, int] | None,
    similarity: Similarity,
    scale: float | None,
    saliency: Saliency,
) -> TargetMaker:
    """What makes the targets, over the block that was given, or over the one that makes the paper's of this teacher's.

    Args:
        target: see `Target`; "dense" has no block.
        teacher: whose tokens they are.
        block: of its tokens.
        similarity, scale, saliency: of WAP alone.

    Raises:
        ConfigError: no block was given, and the teacher's config cannot be read or leaves none; or "dense" with one.
    """
    if block is not None and (len(block) != 3 or min(block) < 1):
        raise ConfigError(f"model.block is {list(block)}; give frames, rows and columns of at least 1, such as [4,2,2]")
    if target == "dense":
        if block is not None and prod(block) != 1:
            raise ConfigError(
                f"model.target is dense, which keeps every token, but model.block is {list(block)}; set it to null, or"
                " model.target to wap, average or max"
            )
        return Dense()
    if block is not None:
        chosen: Block = (block[0], block[1], block[2])
    else:
        chosen = teacher.geometry().block() if isinstance(teacher, TeacherSource) else PAPER_BLOCK
    return WAP(chosen, similarity, scale, saliency) if target == "wap" else Pool(target, chosen)


def require_target(key: Mapping[str, Any], compressor: TargetMaker, source: str) -> None:
    """Refuses a feature store of another kind of target.

    Args:
        key: the `compressor` of the store's key.
        compressor: what this run makes its targets by.
        source: folder of the store, for the message.

    Raises:
        StoreMismatch: names the setting, and both kinds.
    """
    stored, wanted = key.get("compressor"), compressor.describe()["compressor"]
    if stored != wanted:
        raise StoreMismatch(
            f"{source}: this feature store was made under other settings. model.target: stored {stored!r}, this run"
            f" wants {wanted!r}. Set it back to the stored value, or make another store"
        )


def student_fields(
    teacher: str | TeacherSource | None, compressor: TargetMaker, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Fields of the student's config: those that were given, and the rest as the targets have it.

    Of a teacher given by `class_path` patches, width and size follow; of every teacher strides and clip, from what a
    target stands for. An InternVL's tokens are a frame and a patch. Where every token is a target, the student is a
    plain ViT that sees one token's frames at a time.

    Raises:
        ConfigError: the teacher's config cannot be read, there is no place for the strides, or they are none.
    """
    fields = dict(given)
    if "downsample_strides" in fields:
        fields["downsample_strides"] = strides_of(fields["downsample_strides"])
    places: Sequence[int] = fields.get("downsample_after", PAPER_PLACES)
    if isinstance(teacher, TeacherSource) and not set(fields) >= _FOLLOWING:
        followed = teacher.geometry().student(compressor.block, places)
    else:
        after, strides = place_strides(compressor.block, places) if "downsample_strides" not in fields else ([], [])
        followed = {"downsample_after": after, "downsample_strides": strides}
    if "downsample_strides" in fields:
        followed.pop("downsample_after")
    else:
        fields.pop("downsample_after", None)
    fields = {**followed, **fields}
    if "clip_frames" not in given:
        spanned = prod(int(stride[0]) for stride in fields["downsample_strides"])
        fields["clip_frames"] = spanned if isinstance(compressor, Dense) else default_clip(spanned)
    return fields


def teacher_frames(teacher: Teacher, compressor: TargetMaker) -> FrameSpec:
    """The frames that targets are made of where the data do not say otherwise.

    They are of the size that the teacher was trained on, enlarged to one that the compressor's blocks fill.
    """
    geometry = teacher.geometry
    side = geometry.frame_side(compressor.block)
    size = None if side is None else (side, side)
    return FrameSpec(size, default_clip(geometry.cell(compressor.block)[0]))


def check_teacher(
    teacher: Teacher, source: TeacherSource, compressor: TargetMaker, image_size: tuple[int, int], clip_frames: int
) -> None:
    """Refuses a teacher whose tokens WAP cannot weigh, or whose grid the blocks do not divide.

    Args:
        teacher: with its weights.
        source: where it comes from, for the message.
        compressor: what makes targets of its tokens.
        image_size: height and width of the data's frames.
        clip_frames: of the data, which pads samples to whole clips.

    Raises:
        ConfigError: names the saliencies that there are, or the nearest sizes that are legal.
    """
    if isinstance(compressor, WAP):
        compressor.require(teacher.saliencies, source.source)
    spanned = teacher.geometry.cell(compressor.block)[0]
    if clip_frames % spanned:
        raise ConfigError(f"model.block takes {spanned} frames, which does not divide data.clip_frames {clip_frames}")
    teacher.geometry.require_size(image_size, compressor.block, "data.image_size")
