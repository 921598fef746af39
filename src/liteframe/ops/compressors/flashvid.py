"""FlashVID: diverse tokens of high attention stay, the others merge along trees over time, then in their frame.

Source: Fan et al., "FlashVID: Efficient Video Large Language Models via Training-free Tree-based Spatiotemporal Token
Merging" (ICLR 2026, arXiv 2602.08024); the official repository (Fanziyang-v/FlashVID) was read, of the paper only what
others quote; the settings are the repository's. As there, in each segment of FastVID's DySeg (here of the frames' mean
tokens):

- ADTS, in each frame: the token whose cosine distance to the nearest other, times its class attention, is largest,
  then again and again the one farthest, so weighted, from those chosen. They stay unchanged.
- TSTM: each other token whose most similar other token of the frame before has a cosine above `merged_above` is merged
  into that, which may be merged itself; no more of them, the most similar first, than the budget asks for.
- What is left of a frame are clusters around density peaks (DPC-KNN), as many as its share of the budget; a cluster
  becomes the mean of its members.

The half that prunes inside the LLM is `models.rivals.pruners.FlashVIDInside`.

Decided here: a tree becomes the mean of all its tokens, where the official code divides the sum of a chain by the
direct children; budgets are shared exactly; in a segment of a single frame, tokens of ADTS are not merged again. The
official code takes at most as many neighbours as clusters, so that any token is the centre of a single one; here at
most as many as tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from liteframe.ops.compressors.budget import even, proportional
from liteframe.ops.compressors.density_peaks import density_peaks, nearest_centre
from liteframe.ops.compressors.fastvid import segment_ends
from liteframe.ops.compressors.features import (
    Compressed,
    Features,
    check_count,
    check_keep,
    check_share,
    compressed,
)
from liteframe.ops.compressors.ranking import ranked, top
from liteframe.ops.compressors.similarity import cosines, group_sums

_Found = tuple[Tensor, Tensor]
"""Tokens ``(M, C)``, and their places in the segment."""


def flashvid(
    features: Features,
    keep: int,
    segments: int = 4,
    threshold: float = 0.9,
    chosen: float = 0.7,
    merged_above: float = 0.8,
    neighbours: int = 7,
) -> Compressed:
    """Diverse tokens and merged ones of each segment; gives exactly `keep`.

    Args:
        features: class attention is needed.
        keep: tokens of the whole video.
        segments: at least so many segments, where there are as many frames.
        threshold: a transition of lower cosine is a cut.
        chosen: share of a frame's budget for ADTS, rounded up.
        merged_above: cosine above which a token may merge into one of the frame before.
        neighbours: k of the density.

    Raises:
        ConfigError: no class attention, or a setting or budget out of range.
    """
    check_keep(features, keep)
    check_share("chosen", chosen)
    check_share("merged_above", merged_above, -1.0)
    for name, value in (("segments", segments), ("neighbours", neighbours)):
        check_count(name, value)
    attention_TN, tokens_TNC = features.need_cls_attention_TN("FlashVID"), features.tokens_TNC
    frames, count = attention_TN.shape
    budgets, found, start = even(keep, frames), list[_Found](), 0
    for end in segment_ends(tokens_TNC.mean(dim=1), segments, threshold):
        part, own = slice(start, end), budgets[start:end]
        fixed_FN = diverse(tokens_TNC[part], attention_TN[part], [math.ceil(chosen * budget) for budget in own])
        fixed_P = fixed_FN.flatten().nonzero().squeeze(-1)
        merged = _merge(tokens_TNC[part], fixed_FN, sum(own) - len(fixed_P), merged_above, neighbours)
        for tokens_MC, place_M in [(tokens_TNC[part].flatten(0, 1)[fixed_P], fixed_P), *merged]:
            found.append((tokens_MC, place_M + start * count))
        start = end
    tokens, places = zip(*found, strict=True)
    return compressed(features, keep, torch.cat(tokens), torch.cat(places))


def diverse(tokens_FNC: Tensor, attention_FN: Tensor, counts: list[int]) -> Tensor:
    """ADTS: a mask of `counts` tokens of each frame, bool ``(F, N)``."""
    apart_FNN = (1 - cosines(tokens_FNC, tokens_FNC)) * attention_FN.unsqueeze(-2)
    itself_NN = torch.eye(apart_FNN.shape[-1], dtype=torch.bool, device=apart_FNN.device)
    nearest_FN = apart_FNN.masked_fill(itself_NN, torch.inf).amin(dim=-2)
    chosen_FN = torch.zeros_like(attention_FN, dtype=torch.bool)
    for number in range(max(counts)):
        best_F1 = ranked(nearest_FN.masked_fill(chosen_FN, -torch.inf))[:, :1]
        more_F1 = torch.tensor([number < count for count in counts], device=best_F1.device).unsqueeze(-1)
        chosen_FN |= torch.zeros_like(chosen_FN).scatter(-1, best_F1, more_F1)
        to_best_FN = apart_FNN.gather(-2, best_F1.unsqueeze(-1).expand(-1, -1, apart_FNN.shape[-1])).squeeze(-2)
        nearest_FN = to_best_FN if number == 0 else torch.minimum(nearest_FN, to_best_FN)
    return chosen_FN


def _merge(tokens_FNC: Tensor, fixed_FN: Tensor, budget: int, above: float, neighbours: int) -> list[_Found]:
    """TSTM of the tokens that ADTS left, `budget` in all: what each frame keeps of them."""
    if not budget:
        return []
    tokens_MC, root_M = _trees(tokens_FNC, fixed_FN, budget, above)
    frames, count = fixed_FN.shape
    sizes = torch.bincount(root_M // count, minlength=frames).tolist()
    shares, begin, found = proportional(budget, sizes, sizes), 0, list[_Found]()
    for size, share in zip(sizes, shares, strict=True):
        if share:
            mean_MC, centre_M = _clusters(tokens_MC[begin : begin + size], share, neighbours)
            found.append((mean_MC, root_M[begin : begin + size][centre_M]))
        begin += size
    return found


def _trees(tokens_FNC: Tensor, fixed_FN: Tensor, least: int, above: float) -> _Found:
    """Means of the trees over time, and their roots in the segment, ascending; at least `least` of them."""
    frames, count = fixed_FN.shape
    own_FN = torch.arange(frames * count, device=fixed_FN.device).view(frames, count)
    parent_FN = own_FN.clone()
    if frames > 1:
        like_SNN = cosines(tokens_FNC[1:], tokens_FNC[:-1])
        like_SNN = like_SNN.masked_fill(fixed_FN[:-1].unsqueeze(-2), -torch.inf)
        like_SNN = like_SNN.masked_fill(fixed_FN[1:].unsqueeze(-1), -torch.inf)
        like_SN, parent_SN = like_SNN.max(dim=-1)
        most = int((~fixed_FN).sum()) - least
        merges_SN = top(like_SN.flatten().unsqueeze(0), [most]).view_as(like_SN) & (like_SN > above)
        parent_FN[1:] = torch.where(merges_SN, parent_SN + own_FN[:-1, :1], own_FN[1:])
    root_FN = parent_FN.clone()
    for frame in range(1, frames):
        root_FN[frame] = root_FN.flatten()[parent_FN[frame]].where(parent_FN[frame] != own_FN[frame], own_FN[frame])
    free_P = (~fixed_FN).flatten().nonzero().squeeze(-1)
    root_M, group_P = root_FN.flatten()[free_P].unique(return_inverse=True)
    sums_1MC, sizes_1M1 = group_sums(tokens_FNC.flatten(0, 1)[free_P].unsqueeze(0), group_P.unsqueeze(0), len(root_M))
    return (sums_1MC / sizes_1M1).squeeze(0), root_M


def _clusters(tokens_NC: Tensor, number: int, neighbours: int) -> _Found:
    """Means of so many clusters around density peaks, and their centres."""
    if number == len(tokens_NC):
        return tokens_NC, torch.arange(number, device=tokens_NC.device)
    order_1N, distances_1NN = density_peaks(tokens_NC.unsqueeze(0), neighbours)
    centre_1M = order_1N[:, :number]
    group_1N = nearest_centre(centre_1M, distances_1NN, [number])
    sums_1MC, sizes_1M1 = group_sums(tokens_NC.unsqueeze(0), group_1N, number)
    return (sums_1MC / sizes_1M1).squeeze(0), centre_1M[0]
