"""The student's config that follows from its teacher: strides, clip, patches, width and frame size.

How much the student compresses is one setting, the block of the teacher's tokens that becomes one token of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Dense, Pool
from liteframe.models.student.encoder_config import strides_of
from liteframe.models.teachers import PAPER_BLOCK, TeacherGeometry, TeacherSource
from liteframe.ops.pooling import Block

PAPER_PLACES = (4, 8)
"""Blocks, counted from 1, that the paper's strided convolutions stand after."""
_PAPER_CLIP = 4
_OF_GEOMETRY = {"patch_size", "output_size", "image_size", "clip_frames", "downsample_strides"}
"""Fields that `fields_of_geometry` gives."""


def student_fields(
    teacher: str | TeacherSource | None, compressor: WAP | Pool | Dense, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Fields of the student's config: those that were given, and the rest as the targets have it.

    Of a teacher given by `class_path` patches, width and size follow; of every teacher strides and clip, from what a
    target stands for. An InternVL's tokens are a frame and a patch. Where every token is a target, the student is a
    plain ViT that sees one token's frames at a time.

    Raises:
        ConfigError: the teacher's config cannot be read, `downsample_after` names no block for the strides, or they
            are none.
    """
    fields = dict(given)
    if "downsample_strides" in fields:
        fields["downsample_strides"] = strides_of(fields["downsample_strides"])
    places: Sequence[int] = fields.get("downsample_after", PAPER_PLACES)
    tubelet = fields.get("tubelet_frames", 1)
    if isinstance(teacher, TeacherSource) and not set(fields) >= _OF_GEOMETRY:
        of_patches = 1 if "downsample_strides" in fields else tubelet
        followed = fields_of_geometry(teacher.geometry(), compressor.block, places, of_patches)
    elif "downsample_strides" in fields:
        followed = {}
    else:
        after, strides = place_strides(_of_tubelets(compressor.block, tubelet), places)
        followed = {"downsample_after": after, "downsample_strides": strides}
    if "downsample_strides" in fields:
        followed.pop("downsample_after", None)
    else:
        fields.pop("downsample_after", None)
    fields = {**followed, **fields}
    if "clip_frames" not in given:
        spanned = tubelet * prod(int(stride[0]) for stride in fields["downsample_strides"])
        fields["clip_frames"] = spanned if isinstance(compressor, Dense) else default_clip(spanned)
    return fields


def fields_of_geometry(
    geometry: TeacherGeometry, block: Block = PAPER_BLOCK, places: Sequence[int] = PAPER_PLACES, tubelet: int = 1
) -> dict[str, Any]:
    """Fields of `LiteFrameConfig` with which a token of the student stands for one block of the teacher's.

    The student's own patches are the teacher's, and they are merged as `place_strides` says, in clips of
    `default_clip` frames. Frames of the size that the teacher was trained on are enlarged to the next one that
    blocks fill: 392 px in place of 384 for patches of 14 and blocks of 2 x 2.

    Args:
        geometry: of the teacher.
        block: frames, rows and columns of tokens.
        places: blocks of the student after which it merges, where there is something to merge.
        tubelet: frames that the student's patches span.

    Raises:
        ConfigError: `places` is empty, and there is something to merge; or tubelets do not divide the block.
    """
    frames, rows, columns = geometry.cell(block)
    patches = (frames, rows // geometry.patch_size, columns // geometry.patch_size)
    after, strides = place_strides(_of_tubelets(patches, tubelet), places)
    fields: dict[str, Any] = {
        "patch_size": geometry.patch_size,
        "output_size": geometry.width,
        "clip_frames": default_clip(frames),
        "downsample_after": after,
        "downsample_strides": strides,
    }
    if (side := geometry.frame_side(block)) is not None:
        fields["image_size"] = side
    return fields


def _of_tubelets(block: Block, tubelet: int) -> Block:
    """The block, with its frames counted in tubelets."""
    if tubelet < 1 or block[0] % tubelet:
        raise ConfigError(f"tubelet_frames {tubelet} must divide the {block[0]} frames that become one token")
    return (block[0] // tubelet, block[1], block[2])


def place_strides(stride: Block, places: Sequence[int] = PAPER_PLACES) -> tuple[list[int], list[list[int]]]:
    """`downsample_after` and `downsample_strides` of a student whose token stands for `stride`.

    Rows and columns are merged after the first block of `places`. Frames are halved at each as long as they can be,
    and merged by what is left at the last: (4, 2, 2) is the paper's (2, 2, 2) and (2, 1, 1), (8, 2, 2) is (2, 2, 2)
    and (4, 1, 1). Blocks with nothing left to merge are dropped.

    Args:
        stride: frames, rows and columns of patches that become one token.
        places: blocks, counted from 1, after which to merge.

    Raises:
        ConfigError: something is to be merged, and `places` is empty.
    """
    if prod(stride) > 1 and not places:
        raise ConfigError(
            f"downsample_after is empty, but {stride[0]} frames, {stride[1]} rows and {stride[2]} columns are to become"
            " one token; name blocks of the student after which to merge"
        )
    frames, rows, columns = stride
    after: list[int] = []
    strides: list[list[int]] = []
    for number, place in enumerate(places, start=1):
        step = frames if number == len(places) else 2 if frames % 2 == 0 else 1
        if prod((step, rows, columns)) > 1:
            after.append(place)
            strides.append([step, rows, columns])
        frames, rows, columns = frames // step, 1, 1
    return after, strides


def default_clip(frames: int) -> int:
    """Frames of a clip whose tokens span `frames`: the paper's 4 where they fill it, else one token's."""
    return _PAPER_CLIP if _PAPER_CLIP % frames == 0 else frames
