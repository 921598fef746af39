"""Bipartite soft matching for a batch of frames, as ToMe has it in every layer of a ViT.

Source: Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023, arXiv 2210.09461); the official code is
CC-BY-NC, and this is written from the description, not copied. Tokens are parted alternately into A (even positions)
and B (odd ones), each of A finds its most similar in B by the cosine of keys, the `merges` most similar pairs merge,
and a merged token is the mean of its members weighted by the patches they stand for. What is left comes in the order:
those of A that stay, then all of B.

`ops.compressors.tome` is the same matching after the encoder, on one video at a time, until a budget is met.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liteframe.ops.compressors.ranking import ranked
from liteframe.ops.compressors.similarity import cosines, product


class Matching(NamedTuple):
    """Who merges with whom, among N tokens of each frame.

    Attributes:
        sources_BR: positions of the tokens of A that go, the most similar first.
        targets_BR: where in B each of them goes: number t is position 2 t + 1.
        kept_BU: positions of the tokens of A that stay, ascending.
    """

    sources_BR: Tensor
    targets_BR: Tensor
    kept_BU: Tensor


def left_behind(tokens: int, merges: int, layers: int) -> list[int]:
    """Tokens of a frame behind each layer, where `merges` go in each, but at most half of those that are left."""
    left = []
    for _ in range(layers):
        tokens -= min(merges, tokens // 2)
        left.append(tokens)
    return left


def match_tokens(keys_BNK: Tensor, merges: int) -> Matching:
    """The `merges` most similar pairs of each frame, at most N // 2 of them; ties go to the token that comes first."""
    keys_BNK = keys_BNK.float()
    in_a_BAK, in_b_BDK = keys_BNK[:, ::2], keys_BNK[:, 1::2]
    likeness_BA, partner_BA = cosines(in_a_BAK, in_b_BDK).max(dim=-1)
    order_BA = ranked(likeness_BA)
    merges = min(merges, in_b_BDK.shape[1])
    going_BR = order_BA[:, :merges]
    return Matching(2 * going_BR, partner_BA.gather(1, going_BR), 2 * order_BA[:, merges:].sort(dim=-1).values)


def merge_tokens(matching: Matching, tokens_BNC: Tensor, sizes_BN: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that are left, ``(B, N - R, C)`` in the dtype they had, and their sizes ``(B, N - R)``.

    Args:
        matching: of these tokens.
        tokens_BNC: any vectors of theirs.
        sizes_BN: patches that each stands for, float32 (bfloat16 does not count beyond 256).
    """
    sources_BR, targets_BR, kept_BU = matching
    grown_BD = sizes_BN[:, 1::2]
    # A product with zeros and ones: a scattered addition sums in another order each time on a GPU.
    goes_BDR = targets_BR.unsqueeze(1) == torch.arange(grown_BD.shape[1], device=targets_BR.device).unsqueeze(-1)
    going_BR = sizes_BN.gather(1, sources_BR)
    sum_BD = grown_BD + product(goes_BDR.to(sizes_BN.dtype), going_BR.unsqueeze(-1)).squeeze(-1)

    weighted_BRC = _rows(tokens_BNC, sources_BR).float() * going_BR.unsqueeze(-1)
    total_BDC = tokens_BNC[:, 1::2].float() * grown_BD.unsqueeze(-1) + product(goes_BDR.float(), weighted_BRC)
    merged_BDC = (total_BDC / sum_BD.unsqueeze(-1)).to(tokens_BNC.dtype)
    sizes = torch.cat([sizes_BN.gather(1, kept_BU), sum_BD], dim=1)
    return torch.cat([_rows(tokens_BNC, kept_BU), merged_BDC], dim=1), sizes


def new_places(matching: Matching, count: int) -> Tensor:
    """Where each of the `count` tokens is after merging, int64 ``(B, N)``; members of one token share its position."""
    sources_BR, targets_BR, kept_BU = matching
    batch, kept = kept_BU.shape
    places_BN = torch.empty(batch, count, dtype=torch.int64, device=kept_BU.device)
    places_BN[:, 1::2] = kept + torch.arange(count // 2, device=kept_BU.device)
    places_BN.scatter_(1, kept_BU, torch.arange(kept, device=kept_BU.device).expand(batch, -1))
    return places_BN.scatter(1, sources_BR, kept + targets_BR)


def unmerge_tokens(tokens_BMC: Tensor, places_BN: Tensor) -> Tensor:
    """A copy of its merged token at every position, ``(B, N, C)``."""
    return _rows(tokens_BMC, places_BN)


def _rows(tokens_BNC: Tensor, places_BM: Tensor) -> Tensor:
    return tokens_BNC.gather(1, places_BM.unsqueeze(-1).expand(-1, -1, tokens_BNC.shape[-1]))
