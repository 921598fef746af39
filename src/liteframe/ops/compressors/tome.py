"""ToMe after the encoder: bipartite soft matching, repeated until the budget is met.

Source: Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023, arXiv 2210.09461), bipartite soft matching; the
official repository (facebookresearch/ToMe, CC-BY-NC) was read, of the paper only what others quote. As there: tokens
are parted alternately into A and B, each of A finds its most similar in B by the cosine of keys, the r most similar
pairs merge, and merged tokens are means weighted by the patches they stand for. At most half of the tokens go in one
round.

The paper merges r tokens in each layer and has fresh keys there. After the encoder it is used as InternVideo2.5 does
(OpenGVLab, arXiv 2501.12386; its model's code was read): within clips of 4 frames, in rounds of half of the tokens, the
last one only what is left to take, by the cosine of the tokens themselves, which are cut into the LLM's heads and
averaged over them. Decided here: where keys are compared, that of a merged token is the mean of keys, weighted
likewise; tokens stay in the order of the video between rounds; a merged token stands where its token of B stood.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.compressors.budget import even
from liteframe.ops.compressors.features import Compressed, Features, check_count, check_keep, compressed
from liteframe.ops.compressors.ranking import ranked, where_true
from liteframe.ops.compressors.similarity import most_similar

SCOPES = ("clip", "frame", "video")
"""What tokens may merge within."""


class Merged(NamedTuple):
    """Tokens of P parts of a video, which merge apart: with their keys, patch counts and positions.

    The order of tokens within a part is the same in all four.
    """

    tokens_PMC: Tensor
    keys_PMK: Tensor
    sizes_PM: Tensor
    places_PM: Tensor


def tome(
    features: Features, keep: int, scope: str = "clip", clip_frames: int = 4, by: str = "tokens", heads: int = 1
) -> Compressed:
    """Merge the most similar tokens until `keep` are left; gives exactly that many.

    Differs from InternVideo2.5 in that the caller may give projected tokens, which costs it no accuracy.

    Args:
        features: keys are needed where they are compared.
        keep: tokens of the whole video, spread over its frames as evenly as can be.
        scope: "clip", "frame" or "video", which tokens merge within.
        clip_frames: frames of a clip; the last one has what is left over.
        by: "tokens" or "keys", what is compared.
        heads: take the mean of that over this many heads; 1 leaves them side by side.

    Raises:
        ConfigError: an unknown scope, no keys to compare, heads that do not divide them, or a budget out of range.
    """
    check_keep(features, keep)
    check_count("heads", heads)
    check_count("clip_frames", clip_frames)
    if scope not in SCOPES:
        raise ConfigError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
    if by not in ("tokens", "keys"):
        raise ConfigError(f"by must be 'tokens' or 'keys', got {by!r}")
    tokens_TNC = features.tokens_TNC
    keys_TNK = mean_over_heads(tokens_TNC if by == "tokens" else features.need_keys_TNK("ToMe"), heads)
    frames, count = tokens_TNC.shape[:2]
    places_TN = torch.arange(features.count, device=tokens_TNC.device).reshape(frames, count)
    whole = (tokens_TNC, keys_TNK, torch.ones_like(places_TN, dtype=tokens_TNC.dtype), places_TN)
    found = []
    for (length, budget), starts in _parts(even(keep, frames), _length(scope, clip_frames, frames)).items():
        frame_F = torch.arange(length, device=places_TN.device)
        frame_PF = torch.tensor(starts, device=places_TN.device).unsqueeze(-1) + frame_F
        part = Merged(*(values[frame_PF].flatten(1, 2) for values in whole))
        found.append(merge_down_to(part, budget))
    tokens_MC = torch.cat([part.tokens_PMC.flatten(0, 1) for part in found])
    return compressed(features, keep, tokens_MC, torch.cat([part.places_PM.flatten() for part in found]))


def merge_down_to(tokens: Merged, keep: int) -> Merged:
    """Rounds of `merge_once` until `keep` tokens, at least 1, are left of each part."""
    while (left := tokens.places_PM.shape[1]) > keep:
        tokens = merge_once(tokens, min(left - keep, left // 2))
    return tokens


def merge_once(tokens: Merged, merges: int) -> Merged:
    """One round: the `merges` tokens of A that are most like one of B, at most half of all, go into it.

    On a GPU the order of the sums, so their last bits, is fixed only under ``torch.use_deterministic_algorithms``.
    """
    likeness_PA, partner_PA = most_similar(tokens.keys_PMK[:, ::2], tokens.keys_PMK[:, 1::2])
    going_PR = ranked(likeness_PA)[:, :merges]
    source_PR, target_PR = 2 * going_PR, 2 * partner_PA.gather(1, going_PR) + 1
    sizes_PM = tokens.sizes_PM.scatter_add(1, target_PR, tokens.sizes_PM.gather(1, source_PR))
    stays_PM = torch.ones_like(tokens.places_PM, dtype=torch.bool).scatter(1, source_PR, False)
    left_PM = where_true(stays_PM, stays_PM.shape[1] - merges)

    def mean(values_PMC: Tensor) -> Tensor:
        weighted_PMC = values_PMC * tokens.sizes_PM.unsqueeze(-1).to(values_PMC.dtype)
        target_PRC = target_PR.unsqueeze(-1).expand(-1, -1, values_PMC.shape[-1])
        sums_PMC = weighted_PMC.scatter_add(1, target_PRC, weighted_PMC.take_along_dim(source_PR.unsqueeze(-1), dim=1))
        return (sums_PMC / sizes_PM.unsqueeze(-1).to(values_PMC.dtype)).take_along_dim(left_PM.unsqueeze(-1), dim=1)

    return Merged(
        mean(tokens.tokens_PMC), mean(tokens.keys_PMK), sizes_PM.gather(1, left_PM), tokens.places_PM.gather(1, left_PM)
    )


def mean_over_heads(keys_TNK: Tensor, heads: int) -> Tensor:
    """Mean over `heads` heads that lie side by side. Raises ConfigError where they do not divide the width."""
    if keys_TNK.shape[-1] % heads:
        raise ConfigError(f"{heads} heads do not divide keys of width {keys_TNK.shape[-1]}")
    return keys_TNK.unflatten(-1, (heads, -1)).mean(dim=-2)


def _length(scope: str, clip_frames: int, frames: int) -> int:
    """Frames of a part."""
    if scope == "video":
        return frames
    return 1 if scope == "frame" else clip_frames


def _parts(budgets: list[int], length: int) -> dict[tuple[int, int], list[int]]:
    """First frames of the parts that have a budget, by their frames and budget: those alike merge as one batch."""
    parts: dict[tuple[int, int], list[int]] = {}
    for start in range(0, len(budgets), length):
        of_part = budgets[start : start + length]
        if sum(of_part):
            parts.setdefault((len(of_part), sum(of_part)), []).append(start)
    return parts
