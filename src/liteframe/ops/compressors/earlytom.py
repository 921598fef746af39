"""EarlyTom's selection after the encoder: by attention at the ends of a segment, by windows in between.

Source: Wang et al., "EarlyTom: Early Token Compression Completes Fast Video Understanding" (CVPR 2026, arXiv
2605.30010), stage II; the official repository (viridisGreen/EarlyTom, Apache-2.0) was read, of the paper its abstract
and what others quote. It works on the frames that remain after stage I (see `ops.frame_merging`). As there, the first
and last frame of a segment keep their tokens of highest attention. A frame between them is cut, in raster order, into
as many windows of equal length as it keeps tokens, and each window keeps its token of highest attention. Nothing is
averaged: all scripts set the share of clustered tokens to 0.

Decided here: the budget is spread exactly over the remaining frames, where the official code rounds each frame's,
upwards at the ends of a segment.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.ops.compressors.budget import even
from liteframe.ops.compressors.features import Compressed, Features, check_keep, compressed
from liteframe.ops.compressors.ranking import rows_by_count, top


def earlytom(features: Features, keep: int, segments: list[tuple[int, int]]) -> Compressed:
    """Tokens of high attention, evenly spread within the segments; gives exactly `keep`.

    Args:
        features: of the remaining frames; class attention is needed.
        keep: tokens of the whole video.
        segments: of these frames, each as its first frame and the one after its last.

    Raises:
        ConfigError: no class attention, or a budget out of range.
    """
    check_keep(features, keep)
    attention_TN, tokens_TNC = features.need_cls_attention_TN("EarlyTom"), features.tokens_TNC
    budgets = even(keep, attention_TN.shape[0])
    kept_TN = top(attention_TN, budgets)
    between = [frame for start, end in segments for frame in range(start + 1, end - 1)]
    for budget, rows in rows_by_count([budgets[frame] for frame in between]).items():
        frame_F = torch.tensor([between[row] for row in rows], device=kept_TN.device)
        kept_TN[frame_F] = _best_of_windows(attention_TN[frame_F], budget)
    places_M = kept_TN.flatten().nonzero().squeeze(-1)
    return compressed(features, keep, tokens_TNC.flatten(0, 1)[places_M], places_M)


def _best_of_windows(attention_FN: Tensor, windows: int) -> Tensor:
    """Mask of the token of highest attention in each of `windows` windows, longer ones first, bool ``(F, N)``."""
    count = attention_FN.shape[-1]
    length, longer = divmod(count, windows)
    sizes_W = torch.full((windows,), length, device=attention_FN.device)
    sizes_W[:longer] += 1
    window_N = torch.arange(windows, device=attention_FN.device).repeat_interleave(sizes_W, output_size=count)
    inside_WN = window_N == torch.arange(windows, device=attention_FN.device).unsqueeze(-1)
    best_FW = attention_FN.unsqueeze(-2).masked_fill(~inside_WN, -torch.inf).argmax(dim=-1)
    return torch.zeros_like(attention_FN, dtype=torch.bool).scatter(-1, best_FW, True)
