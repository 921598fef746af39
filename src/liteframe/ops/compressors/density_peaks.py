"""Density peaks clustering with k nearest neighbours (DPC-KNN), which FastVID, PruneVid and HoliTom all build on.

Source: Rodriguez and Laio, "Clustering by fast search and find of density peaks" (Science 2014), in the form with
neighbours of Du, Ding and Jia (Knowledge-Based Systems 2016). A token's density is exp(-mean squared distance to its k
nearest neighbours); its score is that density times its distance to the nearest token that is denser. The highest
scores are centres, every other token goes to the nearest centre.

As in the official repositories of the three methods (read), distances are divided by the root of the width, a token
counts as its own first neighbour, and the densest token's distance is the largest of all. Decided here: they break ties
in density with noise, this with the order of the tokens; and tokens are centred first, which no distance sees, but
equal tokens then come out at distance 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.ops.compressors.ranking import ranked
from liteframe.ops.compressors.similarity import product


def density_peaks(tokens_BNC: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Rank the tokens of each row as centres of clusters.

    Args:
        tokens_BNC: at least one token a row.
        neighbours: k, the token itself among them; all tokens where a row has fewer.

    Returns:
        Indices ``(B, N)`` from the best centre to the worst, and distances ``(B, N, N)``.
    """
    count, width = tokens_BNC.shape[-2:]
    distances_BNN = _distances(tokens_BNC) / width**0.5
    nearest_BNK = distances_BNN.topk(min(neighbours, count), dim=-1, largest=False).values
    density_BN = (-nearest_BNK.square().mean(dim=-1)).exp()
    # Place in the order of density decides who is denser, so that of equal ones exactly one is.
    place_BN = torch.empty_like(order_BN := ranked(density_BN))
    place_BN.scatter_(-1, order_BN, torch.arange(count, device=order_BN.device).expand_as(order_BN))
    denser_BNN = place_BN.unsqueeze(-2) < place_BN.unsqueeze(-1)
    largest_B11 = distances_BNN.flatten(1).amax(dim=-1)[:, None, None]
    apart_BN = torch.where(denser_BNN, distances_BNN, largest_B11).amin(dim=-1)
    return ranked(density_BN * apart_BN), distances_BNN


def nearest_centre(centres_BM: Tensor, distances_BNN: Tensor, counts_B: list[int]) -> Tensor:
    """Which of its row's first `counts_B` centres each token is nearest to, ties to the first; a centre to itself.

    Args:
        centres_BM: indices of centres, at least as many a row as its count.
        distances_BNN: as `density_peaks` gives them.
        counts_B: centres that count, at least 1 a row.

    Returns:
        int64 ``(B, N)``, numbers of centres.
    """
    number_M = torch.arange(centres_BM.shape[-1], device=centres_BM.device)
    counted_BM = number_M < torch.tensor(counts_B, device=centres_BM.device).unsqueeze(-1)
    to_centre_BNM = distances_BNN.gather(-1, centres_BM.unsqueeze(-2).expand(-1, distances_BNN.shape[-2], -1))
    itself_BNM = centres_BM.unsqueeze(-2) == torch.arange(distances_BNN.shape[-2], device=centres_BM.device)[:, None]
    to_centre_BNM = to_centre_BNM.masked_fill(itself_BNM, -1.0)
    return to_centre_BNM.masked_fill(~counted_BM.unsqueeze(-2), torch.inf).argmin(dim=-1)


def _distances(tokens_BNC: Tensor) -> Tensor:
    centred_BNC = tokens_BNC - tokens_BNC.mean(dim=-2, keepdim=True)
    square_BN = centred_BNC.square().sum(dim=-1)
    products_BNN = product(centred_BNC, centred_BNC.transpose(-1, -2))
    distances_BNN = (square_BN.unsqueeze(-1) + square_BN.unsqueeze(-2) - 2 * products_BNN).clamp_min(0).sqrt()
    distances_BNN.diagonal(dim1=-2, dim2=-1).zero_()
    return distances_BNN
