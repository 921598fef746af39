"""VisionZip: the tokens that the class token attends to most, and means of the others in groups of alike.

Source: Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (CVPR 2025, arXiv
2412.04467), dominant token selection and contextual token merging; the official repository (dvlab-research/VisionZip,
Apache-2.0) was read, of the paper only what others quote. As there, in each frame: dominant tokens are those of the
highest class attention, unchanged; of the rest, targets at steps of equally many whole tokens in raster order; each
other token goes to the target that is most similar by the cosine of keys. 54 dominant and 10 contextual tokens are the
repository's 64.

Decided here: a contextual token is the mean of target and members; the official code adds the members' mean to the
target, which `added` does and a frozen LLM reads worse. The class token itself, which the official code counts as
dominant, is not sent: it is no token of the grid. The budget is spread over the frames as evenly as can be. A
contextual token stands at its target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.ops.compressors.budget import even
from liteframe.ops.compressors.features import (
    Compressed,
    Features,
    check_count,
    check_keep,
    check_share,
    compressed,
)
from liteframe.ops.compressors.ranking import rows_by_count, top, where_true
from liteframe.ops.compressors.similarity import cosines, group_sums
from liteframe.ops.compressors.tome import mean_over_heads


def visionzip(
    features: Features, keep: int, dominant: float = 54 / 64, added: bool = False, heads: int = 1
) -> Compressed:
    """Dominant and contextual tokens of each frame; gives exactly `keep`.

    Differs from the official code in that it takes means where that adds, which costs nothing (0.800 to 0.787 at 4x).

    Args:
        features: keys and class attention are needed.
        keep: tokens of the whole video.
        dominant: share of dominant tokens in a frame's budget, rounded to whole tokens.
        added: add the mean of its members to a target, instead of taking the mean of all of them.
        heads: take the mean of the keys over this many heads, as the official code does; 1 leaves them concatenated.

    Raises:
        ConfigError: no keys or no class attention, heads that do not divide the keys, a setting or budget out of range.
    """
    check_keep(features, keep)
    check_share("dominant", dominant)
    check_count("heads", heads)
    attention_TN = features.need_cls_attention_TN("VisionZip")
    keys_TNK = mean_over_heads(features.need_keys_TNK("VisionZip"), heads)
    tokens_TNC = features.tokens_TNC
    frames, count = attention_TN.shape
    kept, places = [], []
    for budget, rows in rows_by_count(even(keep, frames)).items():
        frame_F = torch.tensor(rows, device=tokens_TNC.device)
        strong = int(budget * dominant + 0.5)
        strong_FN = top(attention_TN[frame_F], [strong] * len(rows))
        chosen_FD, rest_FR = where_true(strong_FN, strong), where_true(~strong_FN, count - strong)
        tokens_FNC = tokens_TNC[frame_F]
        found = [(tokens_FNC.take_along_dim(chosen_FD.unsqueeze(-1), dim=1), chosen_FD)]
        if budget > strong:
            rest_FRC = tokens_FNC.take_along_dim(rest_FR.unsqueeze(-1), dim=1)
            rest_FRK = keys_TNK[frame_F].take_along_dim(rest_FR.unsqueeze(-1), dim=1)
            contextual_FMC, target_M = _contextual(rest_FRC, rest_FRK, budget - strong, added)
            found.append((contextual_FMC, rest_FR[:, target_M]))
        for tokens_FMC, place_FM in found:
            kept.append(tokens_FMC.flatten(0, 1))
            places.append((frame_F.unsqueeze(-1) * count + place_FM).flatten())
    return compressed(features, keep, torch.cat(kept), torch.cat(places))


def _contextual(rest_FRC: Tensor, keys_FRK: Tensor, groups: int, added: bool) -> tuple[Tensor, Tensor]:
    """Tokens ``(F, groups, C)`` of groups around targets at equal steps, and the targets' indices ``(groups,)``."""
    number_M = torch.arange(groups, device=rest_FRC.device)
    target_M = number_M * (rest_FRC.shape[1] // groups)
    group_FR = cosines(keys_FRK, keys_FRK[:, target_M]).argmax(dim=-1)
    # Targets are set apart by index: one whose key equals another's would else go there.
    group_FR[:, target_M] = -1
    sums_FMC, sizes_FM1 = group_sums(rest_FRC, group_FR, groups)
    targets_FMC = rest_FRC[:, target_M]
    if added:
        return targets_FMC + sums_FMC / sizes_FM1.clamp_min(1), target_M
    return (targets_FMC + sums_FMC) / (sizes_FM1 + 1), target_M
