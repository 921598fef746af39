"""What is kept of a video without end: the tokens of its clips, in a memory that holds so many and no more.

Either the oldest are forgotten (`window`), or neighbours become one (`merge`): by WAP of the student's own tokens over
two groups of frames, again and again, so that the memory spans the whole video and is the coarser the longer ago.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.saliency import mean_token
from liteframe.ops.wap import saliency_pool, wap_similarities

Forget = Literal["window", "merge"]
_PAIR = (2, 1, 1)


@dataclass(frozen=True)
class Remembered:
    """Tokens of one group of frames, or of several neighbours that became one.

    Attributes:
        tokens_HWC: of the encoder, before the projector.
        groups: how many they are of.
        start_s, end_s: when the first and the last of their frames come on screen.
    """

    tokens_HWC: Tensor
    groups: int
    start_s: float
    end_s: float


class ClipMemory:
    """Groups of frames of one video, in order.

    Args:
        most: that are held; each is a `Frame` line of the prompt.
        forget: "window" forgets the oldest; "merge" makes one of those two neighbours that differ least for their age.

    Attributes:
        held: the groups, the oldest first.
        seen: groups that were ever added.

    Raises:
        ConfigError: too few, or no such way to forget.
    """

    def __init__(self, most: int, forget: Forget = "window") -> None:
        if most < 2:
            raise ConfigError(f"memory is {most}; give 2 clips or more")
        if forget not in get_args(Forget):
            raise ConfigError(f"forget is {forget!r}; give one of {', '.join(get_args(Forget))}")
        self.most, self.forget = most, forget
        self.held: list[Remembered] = []
        self.seen = 0
        self._differences: list[float] = []

    def add(self, tokens_HWC: Tensor, start_s: float, end_s: float) -> None:
        """Remembers the group of frames that follows."""
        if len(self.held) == self.most:
            if self.forget == "window":
                del self.held[0]
            else:
                self._merge_two()
        self.held.append(Remembered(tokens_HWC, 1, start_s, end_s))
        self.seen += 1
        if self.forget == "merge" and len(self.held) > 1:
            self._differences.append(_difference(*self.held[-2:]))

    def copy(self) -> ClipMemory:
        """A memory of the same that goes its own way."""
        other = ClipMemory(self.most, self.forget)
        other.held, other.seen, other._differences = list(self.held), self.seen, list(self._differences)
        return other

    def tokens(self) -> Tensor:
        """All that is held, as one video, (1, T, H, W, C)."""
        return torch.stack([one.tokens_HWC for one in self.held])[None]

    def _merge_two(self) -> None:
        at = cheapest_pair(self._differences, [one.groups for one in self.held])
        self.held[at : at + 2] = [merged(*self.held[at : at + 2])]
        del self._differences[at]
        for first in range(max(0, at - 1), min(at + 1, len(self.held) - 1)):
            self._differences[first] = _difference(*self.held[first : first + 2])


def cheapest_pair(differences: Sequence[float], groups: Sequence[int]) -> int:
    """Which two neighbours to make one, by the number of the first: those with the least loss for their age.

    The loss is what Ward's criterion says, the squared differences that are gone when both are their mean; it counts
    for as much less as the pair is longer ago.

    Args:
        differences: mean squared difference of each to the next.
        groups: of frames, behind each.
    """
    since, best, at = 0, math.inf, 0
    for first in reversed(range(len(differences))):
        since += groups[first + 1]
        before, after = groups[first], groups[first + 1]
        loss = differences[first] * before * after / (before + after) / since
        if loss <= best:
            best, at = loss, first
    return at


def _difference(before: Remembered, after: Remembered) -> float:
    return (before.tokens_HWC.float() - after.tokens_HWC.float()).square().mean().item()


def merged(before: Remembered, after: Remembered) -> Remembered:
    """Two neighbours as one: WAP over each place of the grid, of which the mean token is the query.

    A token counts as often as there are groups behind it.
    """
    tokens_BTHWC = torch.stack([before.tokens_HWC, after.tokens_HWC])[None]
    similarity_BTHW = wap_similarities(tokens_BTHWC, mean_token(tokens_BTHWC), _PAIR, "cosine")
    counts = torch.tensor([before.groups, after.groups], device=tokens_BTHWC.device)
    importance_BTHW = similarity_BTHW + counts.log()[None, :, None, None]
    tokens_HWC = saliency_pool(tokens_BTHWC, importance_BTHW, _PAIR)[0, 0]
    return Remembered(tokens_HWC, before.groups + after.groups, before.start_s, after.end_s)
