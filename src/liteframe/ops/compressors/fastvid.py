"""FastVID: segments by change, then salient tokens of each frame and tokens merged around density peaks.

Source: Shen et al., "FastVID: Dynamic Density Pruning for Fast Video Large Language Models" (NeurIPS 2025, arXiv
2503.11187): dynamic temporal segmentation (DySeg) and density spatiotemporal pruning (STPrune), which is selection by
attention (ATS) and merging by density (DTM). The official repository (LunarShen/FastVID) was read, of the paper only
its opening and what others quote; the settings are the repository's. As there:

- DySeg cuts where neighbouring frames' global features have a cosine below `threshold`, and in any case at the
  `segments` - 1 least similar transitions.
- A segment's budget is that of its frames, the share `merged` of it for DTM.
- ATS keeps the tokens of highest class attention in each frame, unchanged.
- DTM takes every `anchor_step`-th frame of a segment, counted back from its last. The best density peaks among a
  frame's tokens without salient ones are anchors. Each anchor frame by itself gathers all tokens of the segment but
  salient ones to the most similar anchor by cosine, an anchor to itself; it becomes
  w * anchor + (1 - w) * mean of its n members with w = max(`anchor_weight`, 1 / (n + 1)).

Decided here: the global feature of a frame is its class token (official: SigLIP's pooling head); the budget is spread
over frames as evenly as can be; what does not fit into anchor frames goes to salient tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.ops.compressors.budget import even, proportional
from liteframe.ops.compressors.density_peaks import density_peaks
from liteframe.ops.compressors.features import (
    Compressed,
    Features,
    check_count,
    check_keep,
    check_share,
    compressed,
)
from liteframe.ops.compressors.ranking import ranked, top
from liteframe.ops.compressors.similarity import cosines, group_sums, paired_cosines


def fastvid(
    features: Features,
    keep: int,
    segments: int = 8,
    threshold: float = 0.9,
    merged: float = 0.4,
    anchor_step: int = 4,
    anchor_weight: float = 0.6,
    neighbours: int = 4,
    anchors_join: bool = True,
) -> Compressed:
    """Salient and merged tokens of each segment; gives exactly `keep`.

    Differs from the official code in the rounding of budgets, which costs nothing (0.662 to 0.642 at a token a frame).

    Args:
        features: class tokens and class attention are needed.
        keep: tokens of the whole video.
        segments: at least so many segments, where there are as many frames.
        threshold: a transition of lower cosine is a cut.
        merged: share of a segment's budget for merged tokens, rounded down.
        anchor_step: frames from one anchor frame to the next.
        anchor_weight: least weight of an anchor in what it becomes.
        neighbours: k of the density.
        anchors_join: whether an anchor is one of its own members; of older records it is none, nor one of another
            anchor of its frame.

    Raises:
        ConfigError: no class tokens or no class attention, or a setting or budget out of range.
    """
    check_keep(features, keep)
    check_share("merged", merged)
    check_share("anchor_weight", anchor_weight)
    for name, value in (("segments", segments), ("anchor_step", anchor_step), ("neighbours", neighbours)):
        check_count(name, value)
    cls_TC, attention_TN = features.need_cls_TC("FastVID"), features.need_cls_attention_TN("FastVID")
    tokens_TNC = features.tokens_TNC
    frames, count = attention_TN.shape
    budgets = even(keep, frames)
    kept, places = [], []
    start = 0
    for end in segment_ends(cls_TC, segments, threshold):
        frame = slice(start, end)
        salient, anchors = segment_shares(sum(budgets[frame]), end - start, count, merged, anchor_step)
        salient_FN = top(attention_TN[frame], salient)
        found = _merge(tokens_TNC[frame], salient_FN, anchors, anchor_weight, neighbours, anchors_join)
        place_S = salient_FN.flatten().nonzero().squeeze(-1)
        for tokens_MC, place_M in [(tokens_TNC[frame].flatten(0, 1)[place_S], place_S), *found]:
            kept.append(tokens_MC)
            places.append(place_M + start * count)
        start = end
    return compressed(features, keep, torch.cat(kept), torch.cat(places))


def segment_ends(cls_TC: Tensor, segments: int, threshold: float) -> list[int]:
    """DySeg: the frame after each segment's last, ascending; the last one is the number of frames."""
    frames = cls_TC.shape[0]
    if frames == 1:
        return [1]
    cls_TC = cls_TC.to(torch.promote_types(cls_TC.dtype, torch.float32))
    likeness_S = paired_cosines(cls_TC[:-1], cls_TC[1:])
    least = ranked(-likeness_S)[: segments - 1].tolist()
    below = (likeness_S < threshold).nonzero().squeeze(-1).tolist()
    return [*sorted(frame + 1 for frame in {*least, *below}), frames]


def segment_shares(
    budget: int, frames: int, tokens: int, merged: float, anchor_step: int
) -> tuple[list[int], list[int]]:
    """How many salient tokens and how many anchors each frame of a segment has; both together sum to `budget`.

    Args:
        budget: of the segment, at most all of its tokens.
        frames: of the segment.
        tokens: of a frame.
        merged: share for anchors.
        anchor_step: frames from one anchor frame to the next, counted back from the last.
    """
    around = int(budget * merged)
    salient = even(budget - around, frames)
    room = [tokens - salient[frame] if (frames - 1 - frame) % anchor_step == 0 else 0 for frame in range(frames)]
    # Counted back from the last here too: as in the official code, what is over goes to the later anchor frames.
    anchors = proportional(around, [int(space > 0) for space in room[::-1]], room[::-1])[::-1]
    room = [tokens - salient[frame] - anchors[frame] for frame in range(frames)]
    more = proportional(budget - sum(salient) - sum(anchors), [1] * frames, room)
    return [first + second for first, second in zip(salient, more, strict=True)], anchors


def _merge(
    tokens_FNC: Tensor, salient_FN: Tensor, anchors: list[int], anchor_weight: float, neighbours: int, join: bool
) -> list[tuple[Tensor, Tensor]]:
    """DTM of one segment: merged tokens and their positions in it, for each anchor frame."""
    count = tokens_FNC.shape[1]
    free_P = (~salient_FN).flatten().nonzero().squeeze(-1)
    free_PC = tokens_FNC.flatten(0, 1)[free_P]
    found = []
    for frame, number in enumerate(anchors):
        if not number:
            continue
        rest_R = (~salient_FN[frame]).nonzero().squeeze(-1)
        order_1R, _ = density_peaks(tokens_FNC[frame, rest_R].unsqueeze(0), neighbours)
        anchor_M = rest_R[order_1R[0, :number]]
        anchors_MC = tokens_FNC[frame, anchor_M]
        place_M = frame * count + anchor_M
        group_P = cosines(free_PC, anchors_MC).argmax(dim=-1)
        # Of anchors it is said where they go: rounding, or an equal one, may have them elsewhere.
        own_M = torch.arange(number, device=group_P.device)
        group_P[torch.searchsorted(free_P, place_M)] = own_M if join else torch.full_like(own_M, -1)
        sums_1MC, sizes_1M1 = group_sums(free_PC.unsqueeze(0), group_P.unsqueeze(0), number)
        means_MC, sizes_M1 = (sums_1MC / sizes_1M1.clamp_min(1)).squeeze(0), sizes_1M1.squeeze(0)
        weight_M1 = (1 / (sizes_M1 + 1)).clamp_min(anchor_weight)
        found.append((weight_M1 * anchors_MC + (1 - weight_M1) * means_MC, place_M))
    return found
