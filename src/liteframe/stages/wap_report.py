"""Reports, before a long run, how many tokens WAP effectively averages over.

Near all of a block it is average pooling, near one it selects a token.
"""

from __future__ import annotations

from math import prod

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from liteframe.models.backbone import WAP, VisionTokens
from liteframe.ops.wap import effective_tokens

_NEAR = 0.05
"""Share of the way from one token to all of them that counts as being at an end."""


@torch.no_grad()
def report_effective_tokens(wap: WAP, vision: VisionTokens, counts_BT: Tensor) -> float | None:
    """Prints, on rank 0, how many tokens of a block WAP averages over, with a warning where that is one or all of them.

    Args:
        wap: the compressor.
        vision: of a batch.
        counts_BT: which groups of frames are of a video, (B, T/t) bool; the others fill up clips or batches.

    Returns:
        The mean over the blocks that count; None where there are none.
    """
    whole = prod(wap.block)
    found = effective_tokens(wap.weights(vision), wap.block)[counts_BT]
    if not len(found):
        return None
    mean = float(found.mean())
    low, high = (float(found.flatten().quantile(share)) for share in (0.1, 0.9))
    line = f"WAP: {mean:.1f} effective tokens a block of {whole} (80 % of the blocks: {low:.1f} to {high:.1f})"
    if whole > 1 and not _NEAR <= (mean - 1) / (whole - 1) <= 1 - _NEAR:
        end, change = ("average pooling", "raise") if mean > whole / 2 else ("one token of each block", "lower")
        line += f"; warning: that is nearly {end}: {change} model.scale, or change model.similarity"
    rank_zero_only(print)(line)
    return mean
