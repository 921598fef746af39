"""ToMe after the encoder: bipartite soft matching, repeated until the budget is met.

Source: Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023, arXiv 2210.09461), bipartite soft matching; the
official repository (facebookresearch/ToMe, CC-BY-NC) was read, of the paper only what others quote. As there: tokens
are parted alternately into A and B, each of A finds its most similar in B by the cosine of keys, the r most similar
pairs merge, and merged tokens are means weighted by the patches they stand for. At most half of the tokens go in one
round.

The paper merges r tokens in each layer and has fresh keys there; after the encoder there are neither layers nor new
keys. Decided here: each round takes half of the tokens, the last one only what is left to take; a merged token's key is
the mean of keys, weighted likewise; tokens stay in the order of the video between rounds; a merged token stands where
its token of B stood; matching spans the whole video, as the paper's does for video, or each frame by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.compressors.budget import even
from liteframe.ops.compressors.features import Compressed, Features, check_count, check_keep, compressed
from liteframe.ops.compressors.ranking import ranked
from liteframe.ops.compressors.similarity import most_similar


class Merged(NamedTuple):
    """Tokens, their keys, the patches that each stands for, and their places, in the order of these."""

    tokens_MC: Tensor
    keys_MK: Tensor
    sizes_M: Tensor
    places_M: Tensor


def tome(features: Features, keep: int, scope: str = "video", heads: int = 1) -> Compressed:
    """Merge the most similar tokens until `keep` are left; gives exactly that many.

    Args:
        features: keys are needed.
        keep: tokens of the whole video.
        scope: "video", or "frame" for a budget of its own for each frame, as even as can be.
        heads: take the mean of the keys over this many heads, as the paper does; 1 leaves them concatenated.

    Raises:
        ConfigError: no keys, an unknown scope, heads that do not divide the keys, or a budget out of range.
    """
    check_keep(features, keep)
    check_count("heads", heads)
    if scope not in ("video", "frame"):
        raise ConfigError(f"scope must be 'video' or 'frame', got {scope!r}")
    tokens_TNC, keys_TNK = features.tokens_TNC, mean_over_heads(features.need_keys_TNK("ToMe"), heads)
    places_TN = torch.arange(features.count, device=tokens_TNC.device).reshape(tokens_TNC.shape[:2])
    sizes_TN = torch.ones_like(places_TN, dtype=tokens_TNC.dtype)
    if scope == "video":
        video = Merged(tokens_TNC.flatten(0, 1), keys_TNK.flatten(0, 1), sizes_TN.flatten(), places_TN.flatten())
        parts, budgets = [video], [keep]
    else:
        parts = [Merged(*frame) for frame in zip(tokens_TNC, keys_TNK, sizes_TN, places_TN, strict=True)]
        budgets = even(keep, len(parts))
    merged = [merge_down_to(part, budget) for part, budget in zip(parts, budgets, strict=True) if budget]
    tokens_MC = torch.cat([part.tokens_MC for part in merged])
    return compressed(features, keep, tokens_MC, torch.cat([part.places_M for part in merged]))


def merge_down_to(tokens: Merged, keep: int) -> Merged:
    """Rounds of `merge_once` until `keep` tokens, at least 1, are left."""
    while (left := tokens.places_M.shape[0]) > keep:
        tokens = merge_once(tokens, min(left - keep, left // 2))
    return tokens


def merge_once(tokens: Merged, merges: int) -> Merged:
    """One round: the `merges` tokens of A that are most like one of B, at most half of all, go into it.

    On a GPU the order of the sums, so their last bits, is fixed only under ``torch.use_deterministic_algorithms``.
    """
    likeness_A, partner_A = most_similar(tokens.keys_MK[::2], tokens.keys_MK[1::2])
    going = ranked(likeness_A)[:merges]
    source, target = 2 * going, 2 * partner_A[going] + 1
    sizes_M = tokens.sizes_M.index_add(0, target, tokens.sizes_M[source])

    def mean(values: Tensor) -> Tensor:
        weighted = values * tokens.sizes_M.unsqueeze(-1).to(values.dtype)
        return weighted.index_add(0, target, weighted[source]) / sizes_M.unsqueeze(-1).to(values.dtype)

    stays = torch.ones_like(tokens.places_M, dtype=torch.bool).index_fill(0, source, False)
    return Merged(mean(tokens.tokens_MC)[stays], mean(tokens.keys_MK)[stays], sizes_M[stays], tokens.places_M[stays])


def mean_over_heads(keys_TNK: Tensor, heads: int) -> Tensor:
    """Mean of keys over `heads` heads that lie side by side. Raises ConfigError where they do not divide the width."""
    if keys_TNK.shape[-1] % heads:
        raise ConfigError(f"{heads} heads do not divide keys of width {keys_TNK.shape[-1]}")
    return keys_TNK.unflatten(-1, (heads, -1)).mean(dim=-2)
