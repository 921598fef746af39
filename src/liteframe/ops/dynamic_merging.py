"""Merging the most alike tokens of many frames at once, so that simple frames are left with fewer, as DyMU does.

Source: Wang et al., "DyMU: Dynamic Merging and Virtual Unmerging for Efficient VLMs" (NeurIPS 2025, arXiv 2504.17040),
dynamic token merging; the official repository (MikeWangWZHL/dymu, `src/open_clip/tome.py`) was read, of the paper its
opening. As there: in each frame tokens are parted alternately into A and B, each of A finds its most similar in B by
the cosine of keys; of the pairs of all frames together so many merge, the most alike first, or those above a threshold.
A merged token is the mean of its members weighted by the patches they stand for. What is left of a frame comes in the
order: those of A that stay, then all of B. The threshold of a layer is the likeness of the best pair that was not
merged, at least 0, mean over the batches that it was sought on.

Frames of unequal counts stand in one tensor, filled up behind their tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liteframe.ops.compressors.ranking import ranked
from liteframe.ops.compressors.similarity import cosines, product
from liteframe.ops.token_merging import left_behind


class Cells(NamedTuple):
    """Tokens of F frames, M at most in one.

    Attributes:
        values_FMC: the tokens; what fills up is anything.
        sizes_FM: how many tokens each stands for, float32; 0 where it fills up.
        owners_FN: into which of the M each of the frame's N first tokens went.
    """

    values_FMC: Tensor
    sizes_FM: Tensor
    owners_FN: Tensor

    @classmethod
    def unmerged(cls, values_FNC: Tensor) -> Cells:
        """Tokens that stand for themselves."""
        F, N = values_FNC.shape[:2]
        place_N = torch.arange(N, device=values_FNC.device)
        return cls(values_FNC, torch.ones(F, N, device=values_FNC.device), place_N.expand(F, N))

    @property
    def total(self) -> int:
        """Tokens of all frames; a GPU has to be waited for."""
        return int((self.sizes_FM > 0).sum())


class Pairs(NamedTuple):
    """For each token of A (even positions) its most similar in B (odd ones).

    Attributes:
        likeness_FA: their cosine; -inf where there is no token or nothing to merge with.
        partner_FA: number in B: number b is position 2 b + 1.
    """

    likeness_FA: Tensor
    partner_FA: Tensor


def alike(keys_FMK: Tensor, sizes_FM: Tensor) -> Pairs:
    """The pairs that may merge; ties go to the token that comes first.

    Args:
        keys_FMK: what tokens are compared by.
        sizes_FM: see `Cells`.
    """
    there_FM = sizes_FM > 0
    keys_FMK = keys_FMK.float()
    if keys_FMK.shape[1] < 2:
        none_FA = keys_FMK.new_full((len(keys_FMK), 1), -torch.inf)
        return Pairs(none_FA, torch.zeros_like(none_FA, dtype=torch.int64))
    likeness_FAB = cosines(keys_FMK[:, ::2], keys_FMK[:, 1::2])
    both_FAB = there_FM[:, ::2, None] & there_FM[:, None, 1::2]
    return Pairs(*likeness_FAB.masked_fill(~both_FAB, -torch.inf).max(dim=-1))


def most_alike(pairs: Pairs, merges: int) -> tuple[Tensor, float]:
    """Which of A merge, bool (F, A): the `merges` most alike of all frames; and the threshold that this amounts to."""
    flat_P = pairs.likeness_FA.flatten()
    order_P = ranked(flat_P)
    going_P = torch.zeros_like(flat_P, dtype=torch.bool)
    going_P[order_P[:merges]] = True
    best_left = float(flat_P[order_P[min(merges, len(flat_P) - 1)]])
    # Not `isfinite`: tokens that are not numbers merge too, or those who merge until a budget is met would never end.
    return (going_P & (flat_P != -torch.inf)).view_as(pairs.likeness_FA), max(0.0, best_left)


def merge(cells: Cells, pairs: Pairs, going_FA: Tensor) -> Cells:
    """What is left where these of A go into their partners.

    Args:
        cells, pairs: tokens, and who would merge with whom.
        going_FA: which of A go.
    """
    values_FMC, sizes_FM, owners_FN = cells
    frames, M = sizes_FM.shape
    place_M = torch.arange(M, device=sizes_FM.device)
    in_b = M // 2
    # A product with zeros and ones: a scattered addition sums in another order each time on a GPU.
    joins_FBA = going_FA[:, None] & (pairs.partner_FA[:, None] == torch.arange(in_b, device=place_M.device)[:, None])
    sizes_FA1 = sizes_FM[:, ::2, None]
    weighted_FMC = values_FMC.float() * sizes_FM[..., None]
    grown_FB1 = sizes_FM[:, 1::2, None] + product(joins_FBA.float(), sizes_FA1)
    total_FBC = weighted_FMC[:, 1::2] + product(joins_FBA.float(), weighted_FMC[:, ::2])
    values_FMC, sizes_FM = values_FMC.clone(), sizes_FM.clone()
    values_FMC[:, 1::2] = (total_FBC / grown_FB1.clamp(min=1)).to(values_FMC.dtype)
    sizes_FM[:, 1::2] = grown_FB1.squeeze(-1)
    sizes_FM[:, ::2] = sizes_FM[:, ::2].masked_fill(going_FA, 0)

    order_FM = ((sizes_FM <= 0) * 2 * M + (place_M % 2) * M + place_M).argsort(dim=-1)
    new_FM = torch.empty_like(order_FM).scatter(1, order_FM, place_M.expand(frames, -1))
    joined_FA = new_FM.gather(1, (2 * pairs.partner_FA + 1).clamp(max=M - 1))
    new_FM[:, ::2] = torch.where(going_FA, joined_FA, new_FM[:, ::2])
    longest = max(1, int((sizes_FM > 0).sum(dim=-1).max()))
    order_FM = order_FM[:, :longest]
    index_FMC = order_FM[..., None].expand(-1, -1, values_FMC.shape[-1])
    return Cells(values_FMC.gather(1, index_FMC), sizes_FM.gather(1, order_FM), new_FM.gather(1, owners_FN))


def totals_by_layer(frames: int, cells: int, keep: int, layers: int) -> list[int]:
    """How many tokens of all frames are left behind each layer: equally many go in each, at most half of a frame's.

    Args:
        frames: of the video.
        cells: tokens of a frame.
        keep: what is to be left of all frames, if so many layers can.
        layers: that merge.
    """
    totals: list[int] = []
    for merges in range(cells + 1):
        totals = [max(keep, left * frames) for left in left_behind(cells, merges, layers)]
        if totals[-1:] == [keep]:
            break
    return totals
