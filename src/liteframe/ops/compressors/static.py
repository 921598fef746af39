"""What PruneVid and HoliTom share: the parts of segments that stand still, the others, and a budget over both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liteframe.ops.compressors.budget import proportional


class Segment(NamedTuple):
    """Frames `start` to `end` (which is not among them), and which positions are static all through them, bool (N,)."""

    start: int
    end: int
    still_N: Tensor


class Budget(NamedTuple):
    """Tokens that a segment keeps: of its still part, which is one frame, and of the moving part of each frame."""

    still: int
    moving: list[int]


def share_out(segments: list[Segment], keep: int) -> list[Budget]:
    """The budget in proportion to what is left when still parts are one frame each.

    Sums to `keep`, or to all that is left where this is less.
    """
    stills = torch.stack([segment.still_N.sum() for segment in segments]).tolist()
    sizes: list[int] = []
    for segment, still in zip(segments, stills, strict=True):
        sizes += [still, *[segment.still_N.shape[0] - still] * (segment.end - segment.start)]
    shares = iter(proportional(keep, sizes, sizes))
    return [Budget(next(shares), [next(shares) for _ in range(segment.start, segment.end)]) for segment in segments]


def runs(labels: list[int]) -> list[tuple[int, int]]:
    """First and one after last of each stretch of equal labels."""
    if not labels:
        return []
    starts = [place for place in range(len(labels)) if place == 0 or labels[place] != labels[place - 1]]
    return list(zip(starts, [*starts[1:], len(labels)], strict=True))
