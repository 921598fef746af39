"""What caching and CTD share: the teacher, the targets that are made of its tokens, and the checks of both."""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm, prod
from typing import Any, Literal

from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.backbone import WAP, Block, Dense, Pool
from liteframe.models.student.from_teacher import default_clip
from liteframe.models.teachers import PAPER_BLOCK, InternVL, Teacher, TeacherSource

Similarity = Literal["dot", "cosine"]
Saliency = Literal["class_token", "mean_token", "attention_pool", "norm"]
Target = Literal["wap", "average", "max", "dense"]
"""What the student is taught: WAP of the teacher's tokens, their mean or maximum over such blocks, or all of them."""
TargetMaker = WAP | Pool | Dense


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
    """What makes targets of the teacher's tokens: over `block`, or over the block that compresses as much as the paper.

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


def teacher_frames(teacher: Teacher, compressor: TargetMaker) -> FrameSpec:
    """The frames that targets are made of where the data do not say otherwise.

    They are of the size that the teacher was trained on, enlarged to one that the compressor's blocks fill, in whole
    clips of the teacher.
    """
    geometry = teacher.geometry
    side = geometry.frame_side(compressor.block)
    size = None if side is None else (side, side)
    return FrameSpec(size, lcm(default_clip(geometry.cell(compressor.block)[0]), geometry.clip_frames or 1))


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
        ConfigError: names the importance scores that there are, or the nearest sizes that are legal.
    """
    if isinstance(compressor, WAP):
        compressor.require(teacher.saliencies, source.source)
    spanned = teacher.geometry.cell(compressor.block)[0]
    if clip_frames % spanned:
        raise ConfigError(f"model.block takes {spanned} frames, which does not divide data.clip_frames {clip_frames}")
    clip = teacher.geometry.clip_frames
    if clip is not None and clip_frames % clip:
        raise ConfigError(
            f"{source.source} sees clips of {clip} frames, which does not divide data.clip_frames {clip_frames}; leave"
            " data.clip_frames out, or set clip_frames of model.teacher"
        )
    teacher.geometry.require_size(image_size, compressor.block, "data.image_size")
