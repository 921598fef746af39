"""Choices that come out the same on every run and device: ties go to the token that comes first."""

from __future__ import annotations

import torch
from torch import Tensor


def ranked(scores_BN: Tensor) -> Tensor:
    """Indices from the highest score to the lowest, along the last axis."""
    return torch.sort(scores_BN, dim=-1, descending=True, stable=True).indices


def top(scores_BN: Tensor, counts_B: list[int]) -> Tensor:
    """A mask of each row's `counts_B` highest scores, bool ``(B, N)``."""
    order_BN = ranked(scores_BN)
    count_B1 = torch.tensor(counts_B, device=scores_BN.device).unsqueeze(-1)
    chosen_BN = torch.arange(scores_BN.shape[-1], device=scores_BN.device) < count_B1
    return torch.zeros_like(chosen_BN).scatter(-1, order_BN, chosen_BN)


def where_true(mask_BN: Tensor, count: int) -> Tensor:
    """Ascending indices of the true cells of a mask with `count` of them in each row, int64 ``(B, count)``."""
    return torch.sort(mask_BN, dim=-1, descending=True, stable=True).indices[..., :count]


def rows_by_count(counts: list[int]) -> dict[int, list[int]]:
    """The rows that have each count, so that rows of one count run as one batch; rows of count 0 are left out."""
    rows: dict[int, list[int]] = {}
    for row, count in enumerate(counts):
        if count:
            rows.setdefault(count, []).append(row)
    return rows
