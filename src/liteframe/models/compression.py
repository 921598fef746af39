"""Compression as one setting: which strides, where, and which clip make one token of so many frames, rows, columns."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from liteframe.errors import ConfigError
from liteframe.ops.pooling import Block

PAPER_PLACES = (4, 8)
"""Blocks, counted from 1, that the paper's strided convolutions stand after."""
_PAPER_CLIP = 4


def place_strides(stride: Block, places: Sequence[int] = PAPER_PLACES) -> tuple[list[int], list[list[int]]]:
    """`downsample_after` and `downsample_strides` of a student whose token stands for `stride`.

    Rows and columns are merged at the first place. Frames are halved at each as long as they can be, and merged by what
    is left at the last: (4, 2, 2) is the paper's (2, 2, 2) and (2, 1, 1), (8, 2, 2) is (2, 2, 2) and (4, 1, 1). Places
    with nothing left to merge are dropped.

    Args:
        stride: frames, rows and columns of patches that become one token.
        places: blocks, counted from 1, after which to merge.

    Raises:
        ConfigError: something is to be merged, and there is no place.
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
