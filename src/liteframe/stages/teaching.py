"""What caching and CTD share: the teacher, the targets that are made of its tokens, and the checks of both."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_only

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.store.key import StoreKey
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


def require_teacher(key: StoreKey, described: Mapping[str, Any], source: str) -> None:
    """Refuses a feature store of another teacher, or of other pixels or clips of it.

    Attention and precision may differ: their features are the same but for rounding.

    Args:
        key: of the store.
        described: what the run's teacher says of itself.
        source: folder of the store, for the message.

    Raises:
        StoreMismatch: names what differs.
    """
    stored, wanted = (
        {name: value for name, value in teacher.items() if name not in ("attention", "precision")}
        for teacher in (key.teacher, described_as_in(key, described))
    )
    replace(key, teacher=stored).require(replace(key, teacher=wanted), source)


def described_as_in(key: StoreKey, described: Mapping[str, Any]) -> dict[str, Any]:
    """What a teacher says of itself, by those fields of its config that a feature store knows.

    A store of before these were kept has none, and one that was made with another version of transformers may have more
    or fewer.

    Args:
        key: of the store.
        described: what the run's teacher says of itself.
    """
    known, told = key.teacher.get("config"), described.get("config")
    if not isinstance(known, Mapping) or told is None:
        return {name: value for name, value in described.items() if name != "config"}
    return {**described, "config": {name: told.get(name, value) for name, value in known.items()}}


def teacher_frames(teacher: Teacher, compressor: TargetMaker) -> FrameSpec:
    """The frames that targets are made of where the data do not say otherwise.

    They are of the size that the teacher was trained on, enlarged to one that the compressor's blocks fill, and as many
    as a clip of the teacher has.
    """
    geometry = teacher.geometry
    side = geometry.frame_side(compressor.block)
    size = None if side is None else (side, side)
    return FrameSpec(size, geometry.clip_frames or default_clip(geometry.cell(compressor.block)[0]))


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
    spanned, clip = teacher.geometry.cell(compressor.block)[0], teacher.geometry.clip_frames
    if clip is not None and clip % spanned:
        raise ConfigError(
            f"model.block takes {spanned} frames, which do not divide model.teacher.clip_frames {clip}, so a target"
            " would straddle two clips of the teacher; change one of them"
        )
    if clip_frames % spanned:
        raise ConfigError(f"model.block takes {spanned} frames, which do not divide data.clip_frames {clip_frames}")
    if clip is not None and clip_frames % clip:
        raise ConfigError(
            f"{source.source} sees clips of {clip} frames, which do not divide data.clip_frames {clip_frames}; leave"
            " data.clip_frames out, or set model.teacher.clip_frames"
        )
    teacher.geometry.require_size(image_size, compressor.block, "data.image_size")


def report_stills(teacher: Teacher, source: TeacherSource, data: VideoDataModule, trains: bool = False) -> None:
    """Says on stderr, on rank 0, where the last clip of a video is filled up with stills that its own tokens see.

    Args:
        teacher: of the targets.
        source: where it comes from, for the message.
        data: whose frames it sees.
        trains: whether it sees those of training, too.
    """
    clip = teacher.geometry.clip_frames
    if clip is None:
        return
    name = "a frames of data.shapes" if data.given_shapes else "data.frames"
    seen = dict.fromkeys((name, shape.frames) for shape in data.shapes) if trains else {}
    if not trains or data.sources["val"]:
        seen["data.frames", data.frames] = None
    for field, frames in seen:
        if frames % clip:
            rank_zero_only(print)(
                f"{field} is {frames}, and {source.source} sees clips of {clip} frames (model.teacher.clip_frames): the"
                f" last clip of each video is filled up with {-frames % clip} stills, which the targets of its own"
                " frames depend on; better make the first a multiple of the second",
                file=sys.stderr,
            )
