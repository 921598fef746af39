"""Cosines and means of groups, in which no rounding of autocast decides who merges with whom."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CELLS = 2**26
"""Most similarities held at once by `most_similar`: 256 MiB in float32."""


def product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product in the dtype of its inputs, under autocast too."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


def cosines(left_NC: Tensor, right_MC: Tensor) -> Tensor:
    """Cosine of each pair, ``(..., N, M)``; leading axes go together. A zero vector has cosine 0 with all."""
    return product(F.normalize(left_NC, dim=-1), F.normalize(right_MC, dim=-1).transpose(-1, -2))


def paired_cosines(left_NC: Tensor, right_NC: Tensor) -> Tensor:
    """Cosine of each vector with the one at the same position, ``(..., N)``."""
    return (F.normalize(left_NC, dim=-1) * F.normalize(right_NC, dim=-1)).sum(dim=-1)


def most_similar(left_NC: Tensor, right_MC: Tensor) -> tuple[Tensor, Tensor]:
    """For each on the left, the largest cosine and whose it is, ties to the first; in pieces that bound the memory.

    Leading axes go together, as in `cosines`.
    """
    rows = max(1, _CELLS // right_MC.shape[:-1].numel())
    best = [cosines(piece, right_MC).max(dim=-1) for piece in left_NC.split(rows, dim=-2)]
    return torch.cat([value for value, _ in best], dim=-1), torch.cat([index for _, index in best], dim=-1)


def group_sums(tokens_BNC: Tensor, labels_BN: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Sum and size of each group of tokens; a label below 0 belongs to none.

    A product with zeros and ones, not a scattered addition: on a GPU that one sums in another order each time.

    Returns:
        ``(B, groups, C)`` in the dtype of the tokens, and ``(B, groups, 1)`` likewise.
    """
    members_BGN = labels_BN.unsqueeze(-2) == torch.arange(groups, device=labels_BN.device).unsqueeze(-1)
    members_BGN = members_BGN.to(tokens_BNC.dtype)
    return product(members_BGN, tokens_BNC), members_BGN.sum(dim=-1, keepdim=True)
