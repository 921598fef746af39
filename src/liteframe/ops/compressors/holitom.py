"""HoliTom's merging before the LLM: segments that let the most tokens go, then attention and density peaks.

Source: Shao et al., "HoliTom: Holistic Token Merging for Fast Video Large Language Models" (NeurIPS 2025, arXiv
2505.21334), the outer-LLM part; the official repository (cokeshao/HoliTom) was read, of the paper only its opening and
what others quote; the settings are the repository's. As there:

- A position is static in a window of frames if each two neighbouring frames have a cosine above `threshold` there.
  Windows part the video so that static positions times (frames - 1), summed over windows, is largest; dynamic
  programming finds them.
- Still tokens of a window become their mean. With what that leaves, the share to keep is `keep` over what is left.
- Of moving tokens each frame keeps the highest attention, unchanged. Of still tokens the best density peaks (DPC-KNN)
  are centres, the others go to the nearest; a centre becomes w * centre + (1 - w) * mean of its members with
  w = `centre_weight`.

The half that merges inside the LLM is in `ops.llm_pruning`.

Decided here: attention is the class token's (official: the mean over all queries of SigLIP, which has no class token);
of windowings of equal worth, the one whose last windows are shortest; the budget is shared exactly in proportion to the
sizes of the parts, so `given` is exact, save where still tokens leave fewer than `keep`; then all of these are given.
The official code takes at most as many neighbours as centres, here at most as many as tokens. A still token stands in
the first frame of its window, a cluster at its centre.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.ops.compressors.density_peaks import density_peaks, nearest_centre
from liteframe.ops.compressors.features import (
    Compressed,
    Features,
    check_count,
    check_keep,
    check_share,
    compressed,
)
from liteframe.ops.compressors.ranking import top
from liteframe.ops.compressors.similarity import group_sums, paired_cosines
from liteframe.ops.compressors.static import Segment, share_out


def holitom(
    features: Features, keep: int, threshold: float = 0.8, centre_weight: float = 0.6, neighbours: int = 7
) -> Compressed:
    """Merge what stands still over the best windows, then keep attention and density peaks.

    Gives exactly `keep` tokens, or all that the merging of still tokens leaves where these are fewer. Differs from the
    official scripts in a threshold of 0.8 for any budget, which costs nothing in the mean (0.765 to 0.747 with 0.65).

    Args:
        features: class attention is needed.
        keep: tokens of the whole video.
        threshold: cosine above which a token stays as it was; the official scripts take 0.65 to keep a tenth.
        centre_weight: weight of a centre in what its cluster becomes.
        neighbours: k of the density.

    Raises:
        ConfigError: no class attention, or a setting or budget out of range.
    """
    check_keep(features, keep)
    check_share("threshold", threshold, -1.0)
    check_share("centre_weight", centre_weight)
    check_count("neighbours", neighbours)
    attention_TN = features.need_cls_attention_TN("HoliTom")
    tokens_TNC = features.tokens_TNC
    count = tokens_TNC.shape[1]
    same_SN = paired_cosines(tokens_TNC[:-1], tokens_TNC[1:]) > threshold
    segments = [Segment(start, end, _still(same_SN, start, end)) for start, end in windows(same_SN)]
    kept, places = [], []
    for segment, budget in zip(segments, share_out(segments, keep), strict=True):
        tokens_FNC = tokens_TNC[segment.start : segment.end]
        moving_FN = attention_TN[segment.start : segment.end].masked_fill(segment.still_N, -torch.inf)
        place_M = top(moving_FN, budget.moving).flatten().nonzero().squeeze(-1)
        kept.append(tokens_FNC.flatten(0, 1)[place_M])
        places.append(place_M + segment.start * count)
        if budget.still:
            still_S = segment.still_N.nonzero().squeeze(-1)
            merged_MC, centre_M = _merge(tokens_FNC[:, still_S].mean(dim=0), budget.still, centre_weight, neighbours)
            kept.append(merged_MC)
            places.append(still_S[centre_M] + segment.start * count)
    return compressed(features, keep, torch.cat(kept), torch.cat(places))


def windows(same_SN: Tensor) -> list[tuple[int, int]]:
    """The windows that let the most tokens go, each as its first frame and the one after its last.

    Args:
        same_SN: for each transition between frames, bool, which positions stay as they were; none for a single frame.
    """
    still = _still_counts(same_SN)
    frames = same_SN.shape[0] + 1
    worth, start_of = [0] * (frames + 1), [0] * (frames + 1)
    for end in range(1, frames + 1):
        worth[end], start_of[end] = worth[end - 1], end - 1
        for start in range(end - 2, -1, -1):
            gone = worth[start] + still[end - start - 1][start] * (end - start - 1)
            if gone > worth[end]:
                worth[end], start_of[end] = gone, start
    found, end = [], frames
    while end:
        found.append((start_of[end], end))
        end = start_of[end]
    return found[::-1]


def _still_counts(same_SN: Tensor) -> list[list[int]]:
    """Places that stay as they were over so many transitions (first index) from such a frame on (second index)."""
    counts = [torch.zeros(same_SN.shape[0] + 1, dtype=torch.int64, device=same_SN.device)]
    alive_SN = same_SN
    for length in range(1, same_SN.shape[0] + 1):
        if length > 1:
            alive_SN = alive_SN[:-1] & same_SN[length - 1 :]
        counts.append(alive_SN.sum(dim=-1))
    # One transfer: a device is waited for once, not once a length.
    flat = iter(torch.cat(counts).tolist())
    return [[next(flat) for _ in range(row.shape[0])] for row in counts]


def _still(same_SN: Tensor, start: int, end: int) -> Tensor:
    """Places that stand still from frame `start` to before `end`, bool ``(N,)``; none in a window of one frame."""
    if end - start == 1:
        return torch.zeros(same_SN.shape[1], dtype=torch.bool, device=same_SN.device)
    return same_SN[start : end - 1].all(dim=0)


def _merge(tokens_SC: Tensor, number: int, centre_weight: float, neighbours: int) -> tuple[Tensor, Tensor]:
    """Tokens ``(number, C)`` of clusters around density peaks, and indices ``(number,)`` of the centres."""
    order_1S, distances_1SS = density_peaks(tokens_SC.unsqueeze(0), neighbours)
    centre_1M = order_1S[:, :number]
    group_1S = nearest_centre(centre_1M, distances_1SS, [number]).scatter(-1, centre_1M, -1)
    sums_1MC, sizes_1M1 = group_sums(tokens_SC.unsqueeze(0), group_1S, number)
    centres_MC = tokens_SC[centre_1M[0]]
    means_MC = (sums_1MC / sizes_1M1.clamp_min(1)).squeeze(0)
    mixed_MC = centre_weight * centres_MC + (1 - centre_weight) * means_MC
    return torch.where(sizes_1M1.squeeze(0) > 0, mixed_MC, centres_MC), centre_1M[0]
