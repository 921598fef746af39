"""LongVU: fewer frames, fewer tokens of each, and more again of those that the question is about.

Source: Shen et al., "LongVU: Spatiotemporal Adaptive Compression for Long Video-Language Understanding" (ICML 2025,
arXiv 2410.17434); of the paper its opening was read, and the official repository (Vision-CAIR/LongVU, Apache-2.0),
`longvu/cambrian_arch.py`. As there:

- `distinct_frames`: in windows of 16 frames, a frame goes whose mean cosine to all frames of its window is 0.83 or
  more; the middle one stays.
- A frame is shown at full resolution, or at 8/12 of its rows and columns. All are shown in full if they fit, else as
  many as fit (`finer_frames`), those first whose tokens have the largest mean dot product with the text behind the
  video (`asked_about`).
- If not even the coarse ones fit: in chunks of 8 frames, tokens go that have a cosine of `threshold` or more with the
  token at the same position of the chunk's first frame (`changed`). What is still too many is cut off the ends of the
  chunks (`cut`).

The threshold is 0.65, that of the official script for Video-MME; others have 0.77 and 0.8. Decided here: chunks lose
equally many tokens in whole numbers, so that what is left sums to the budget, where the official code rounds up; and
tokens go from the coarse frames, where the official code goes back to those in full.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.ops.compressors.budget import proportional
from liteframe.ops.compressors.ranking import ranked
from liteframe.ops.compressors.similarity import cosines, paired_cosines, product


def distinct_frames(tokens_TNC: Tensor, window: int = 16, threshold: float = 0.83) -> list[int]:
    """Numbers of the frames that stay, ascending.

    Args:
        tokens_TNC: what frames are compared by, all tokens of one together.
        window: frames that are compared with each other; the last window may have fewer.
        threshold: of the mean cosine of a frame to all of its window, itself among them.
    """
    stays = []
    for part_WNC in tokens_TNC.split(window):
        part_WX = part_WNC.flatten(1).float()  # a window at a time: tokens of a whole video are many
        likeness_W = cosines(part_WX, part_WX).mean(dim=-1)
        likeness_W[len(part_WX) // 2] = -torch.inf
        stays.append(likeness_W < threshold)
    return torch.cat(stays).nonzero().squeeze(-1).tolist()


def finer_frames(frames: int, keep: int, fine: int, coarse: int) -> int:
    """How many of the frames can be shown in full within `keep` tokens.

    Args:
        frames: to be shown.
        keep: tokens of all of them.
        fine, coarse: tokens of a frame in full, and with fewer rows and columns.
    """
    if fine == coarse or frames > max(1, keep // coarse):
        return 0
    return max(0, min(frames, (keep - frames * coarse) // (fine - coarse)))


def asked_about(coarse_FNC: Tensor, text_LC: Tensor, count: int) -> list[int]:
    """The `count` frames that are most like the text, ascending; of equals the first.

    Args:
        coarse_FNC: what the LLM is shown of the frames.
        text_LC: embeddings of the text.
        count: how many frames.
    """
    # The mean over pairs is the product of the means.
    score_F = product(coarse_FNC.float().mean(dim=1), text_LC.float().mean(dim=0).unsqueeze(-1)).squeeze(-1)
    return sorted(ranked(score_F)[:count].tolist())


def coarser(grid_FHWC: Tensor, share: float = 8 / 12) -> Tensor:
    """The frames with so many of their rows and columns, at least 1, between which values are interpolated."""
    rows, columns = (max(1, round(side * share)) for side in grid_FHWC.shape[1:3])
    values_FCHW = grid_FHWC.permute(0, 3, 1, 2).float()
    coarse_FCHW = F.interpolate(values_FCHW, size=(rows, columns), mode="bilinear", align_corners=False)
    return coarse_FCHW.permute(0, 2, 3, 1).to(grid_FHWC.dtype)


def coarse_places(fine: tuple[int, int], coarse: tuple[int, int]) -> list[int]:
    """For each cell of the coarse grid, the cell of the fine one that its centre lies in, in raster order."""
    rows, columns = ([int((i + 0.5) * many / few) for i in range(few)] for many, few in zip(fine, coarse, strict=True))
    return [row * fine[1] + column for row in rows for column in columns]


def changed(tokens_FNC: Tensor, threshold: float = 0.65, chunk: int = 8) -> Tensor:
    """Which tokens stay, bool (F, N): those of each chunk's first frame, and what is not like them.

    Args:
        tokens_FNC: what the LLM would be shown of the frames.
        threshold: a token with this cosine or more to that at its position goes.
        chunk: frames that are compared with their first.
    """
    stays = []
    for part_KNC in tokens_FNC.float().split(chunk):
        differs_KN = paired_cosines(part_KNC, part_KNC[:1].expand_as(part_KNC)) < threshold
        differs_KN[0] = True
        stays.append(differs_KN)
    return torch.cat(stays)


def cut(stays_FN: Tensor, keep: int, chunk: int = 8) -> Tensor:
    """At most `keep` of the tokens that stay: each chunk loses its last, all of them equally many where they have.

    Args:
        stays_FN: as from `changed`.
        keep: tokens of all chunks.
        chunk: frames of one.
    """
    parts = stays_FN.split(chunk)
    sizes = torch.stack([part.sum() for part in parts]).tolist()
    losses = proportional(max(0, sum(sizes) - keep), [1] * len(sizes), sizes)
    left = [
        part & (part.flatten().cumsum(dim=0) <= size - loss).view_as(part)
        for part, size, loss in zip(parts, sizes, losses, strict=True)
    ]
    return torch.cat(left)
