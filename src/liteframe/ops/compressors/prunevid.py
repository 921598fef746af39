"""PruneVid's merging before the LLM: what stands still in a segment becomes one frame, then alike tokens merge.

Source: Huang, Zhou and Han, "PruneVid: Visual Token Pruning for Efficient Video Large Language Models" (ACL
2025, arXiv 2412.16117), spatial-temporal token merging; the official repository (Visual-AI/PruneVid, CC BY-NC-SA) was
read, of the paper only its opening and what others quote; the settings are the repository's. As there:

- Frames, each the mean of its tokens, are clustered by DPC-KNN into a quarter as many clusters, and the clusters made
  into segments without gaps: a cluster keeps its longest stretch if that is longer than one frame (all stretches of
  that length), and what lies between joins the longer neighbour, the left one of equals.
- A position is static in a segment if the mean cosine over all pairs of its frames is above `threshold`; its tokens
  become their mean.
- Still tokens of a segment, and moving tokens of each frame, are clustered by DPC-KNN; a cluster becomes its mean.

The second half of the method, which prunes inside the LLM by the question's attention, is in `ops.llm_pruning`.

The paper keeps half of the tokens as clusters. Decided here: that share follows from the budget, so `given` is exact,
save where still tokens leave fewer than `keep`; then all of these are given. A segment of one frame has no pairs and
stands nowhere still. The official code does not cluster parts of up to 14 tokens; here all parts are. A still token
stands in the first frame of its segment, a cluster at its centre.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
from liteframe.ops.compressors.ranking import rows_by_count
from liteframe.ops.compressors.similarity import group_sums
from liteframe.ops.compressors.static import Segment, runs, share_out


def prunevid(
    features: Features, keep: int, temporal: float = 0.25, threshold: float = 0.8, neighbours: int = 7
) -> Compressed:
    """Merge what stands still, then what is alike.

    Gives exactly `keep` tokens, or all that the merging of still tokens leaves where these are fewer. Differs from the
    official code in that small parts are clustered too, without which 16x is out of reach on small frames.

    Args:
        features: only the tokens are needed.
        keep: tokens of the whole video.
        temporal: clusters of frames for each frame, rounded down, at least 1.
        threshold: mean cosine above which a position is static.
        neighbours: k of the densities.

    Raises:
        ConfigError: a setting or budget out of range.
    """
    check_keep(features, keep)
    check_share("temporal", temporal)
    check_share("threshold", threshold, -1.0)
    check_count("neighbours", neighbours)
    tokens_TNC = features.tokens_TNC
    count = tokens_TNC.shape[1]
    segments = [
        Segment(start, end, _still(tokens_TNC[start:end], threshold))
        for start, end in frame_segments(tokens_TNC.mean(dim=1), temporal, neighbours)
    ]
    kept, places = [], []
    for segment, budget in zip(segments, share_out(segments, keep), strict=True):
        tokens_FNC = tokens_TNC[segment.start : segment.end]
        still_S, moving_D = segment.still_N.nonzero().squeeze(-1), (~segment.still_N).nonzero().squeeze(-1)
        parts = [(tokens_FNC.mean(dim=0, keepdim=True)[:, still_S], still_S, [budget.still])]
        parts.append((tokens_FNC[:, moving_D], moving_D, budget.moving))
        for part_FPC, place_P, counts in parts:
            for number, rows in rows_by_count(counts).items():
                row_F = torch.tensor(rows, device=place_P.device)
                merged_FMC, centre_FM = _cluster(part_FPC[row_F], number, neighbours)
                kept.append(merged_FMC.flatten(0, 1))
                places.append(((segment.start + row_F).unsqueeze(-1) * count + place_P[centre_FM]).flatten())
    return compressed(features, keep, torch.cat(kept), torch.cat(places))


def frame_segments(frames_TC: Tensor, temporal: float, neighbours: int) -> list[tuple[int, int]]:
    """Segments by clustering, each as its first frame and the one after its last."""
    clusters = max(1, int(frames_TC.shape[0] * temporal))
    order_1T, distances_1TT = density_peaks(frames_TC.unsqueeze(0), neighbours)
    labels = nearest_centre(order_1T[:, :clusters], distances_1TT, [clusters])[0].tolist()
    return runs(without_gaps(labels))


def without_gaps(labels: list[int]) -> list[int]:
    """Labels of clusters of frames, made into segments as the module's docstring says."""
    longest: dict[int, int] = {}
    for start, end in runs(labels):
        longest[labels[start]] = max(longest.get(labels[start], 0), end - start)
    settled = list(labels)
    for start, end in runs(labels):
        if end - start == 1 or end - start < longest[labels[start]]:
            settled[start:end] = [-1] * (end - start)
    for start, end in runs(settled):
        if settled[start] != -1:
            continue
        # The left neighbour has grown by what joined it before.
        left = next((stretch for stretch in runs(settled[:start])[::-1]), (0, 0))
        right = next((stretch for stretch in runs(settled[end:])), (0, 0))
        left_length, right_length = left[1] - left[0], right[1] - right[0]
        if left_length or right_length:
            joined = settled[start - 1] if left_length >= right_length else settled[end]
        else:
            joined = 0
        settled[start:end] = [joined] * (end - start)
    return settled


def _still(tokens_FNC: Tensor, threshold: float) -> Tensor:
    """Places whose tokens have a mean cosine above the threshold over all pairs of frames, bool ``(N,)``."""
    frames = tokens_FNC.shape[0]
    if frames == 1:
        return torch.zeros(tokens_FNC.shape[1], dtype=torch.bool, device=tokens_FNC.device)
    units_FNC = F.normalize(tokens_FNC, dim=-1)
    # Each pair twice and each token with itself make the square of the sum.
    pairs_N = units_FNC.sum(dim=0).square().sum(dim=-1) - units_FNC.square().sum(dim=(0, 2))
    return pairs_N / (frames * (frames - 1)) > threshold


def _cluster(tokens_FPC: Tensor, number: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Means of `number` clusters in each row, ``(F, number, C)``, and their centres' positions ``(F, number)``."""
    order_FP, distances_FPP = density_peaks(tokens_FPC, neighbours)
    centre_FM = order_FP[:, :number]
    labels_FP = nearest_centre(centre_FM, distances_FPP, [number] * tokens_FPC.shape[0])
    sums_FMC, sizes_FM1 = group_sums(tokens_FPC, labels_FP, number)
    return sums_FMC / sizes_FM1, centre_FM
