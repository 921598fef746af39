"""LLaVA-PruMerge and PruMerge+: tokens that stand out in the class token's attention, and what is like them added.

Source: Shang et al., "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models" (ICCV 2025, arXiv
2403.15388); the official repository (42Shawn/LLaVA-PruMerge) was read, of the paper only what others quote. As there,
in each frame: the tokens whose class attention is an outlier (above the third quartile by 1.5 times the range between
the quartiles) are kept; each kept token gets its 32 most similar tokens by the cosine of keys added, weighted by their
class attention, without a division by these weights; and one token more is the sum of all that were not kept, weighted
likewise. PruMerge+ keeps tokens on a regular grid besides.

The paper lets the outliers set how many tokens stay. Decided here, so that budgets are met exactly: the video's budget
is shared among its frames in proportion to their outliers, at least 1 a frame where it suffices, and the highest class
attention is kept. For PruMerge+ the official code's grid is three times as dense as its outliers are many, so three
quarters of a frame's budget are spread evenly over the tokens that are left in raster order. The additional token is
one of the budget, so a frame that may have only one has none; it stands where the weightiest of those that were not
kept stood. The official attention is one softmax over the heads' joint product; here it is the mean over heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.ops.compressors.budget import proportional
from liteframe.ops.compressors.features import (
    Compressed,
    Features,
    check_count,
    check_keep,
    check_share,
    compressed,
)
from liteframe.ops.compressors.ranking import ranked, rows_by_count, where_true
from liteframe.ops.compressors.ranking import top as top_scores
from liteframe.ops.compressors.similarity import cosines, product


def prumerge(
    features: Features, keep: int, neighbours: int = 32, whisker: float = 1.5, extra: bool = True
) -> Compressed:
    """Keep what stands out and merge into it; gives exactly `keep` tokens.

    Differs from the official code in that the budget, not the outliers, says how many: at one token a frame there is no
    additional one, which gains 0.037 at four.

    Args:
        features: keys and class attention are needed.
        keep: tokens of the whole video.
        neighbours: tokens merged into each kept one, all others of the frame where they are fewer.
        whisker: ranges between the quartiles above the third one from which on a token stands out.
        extra: the last token of each frame that has several is the sum of those that were not kept.

    Raises:
        ConfigError: no keys or no class attention, or a setting or budget out of range.
    """
    return _prune_and_merge(features, keep, "PruMerge", 0.0, neighbours, whisker, extra)


def prumerge_plus(
    features: Features,
    keep: int,
    uniform: float = 0.75,
    neighbours: int = 32,
    whisker: float = 1.5,
    extra: bool = True,
) -> Compressed:
    """`prumerge`, the share `uniform` of each frame's budget being spread evenly over the rest of the frame.

    At least one token of a frame that has any budget is chosen by class attention. Raises ConfigError as `prumerge`.
    """
    return _prune_and_merge(features, keep, "PruMerge+", uniform, neighbours, whisker, extra)


def outliers(attention_TN: Tensor, whisker: float = 1.5) -> Tensor:
    """How many tokens of each frame stand out, int64 ``(T,)``; quartiles are interpolated linearly."""
    quartiles = torch.tensor([0.25, 0.75], dtype=attention_TN.dtype, device=attention_TN.device)
    first_T1, third_T1 = torch.quantile(attention_TN, quartiles, dim=-1, keepdim=True)
    return (attention_TN > third_T1 + whisker * (third_T1 - first_T1)).sum(dim=-1)


def frame_budgets(attention_TN: Tensor, keep: int, whisker: float) -> list[int]:
    """The video's budget in proportion to each frame's outliers, at least 1 a frame where `keep` suffices."""
    frames, tokens = attention_TN.shape
    least = 1 if keep >= frames else 0
    more = proportional(keep - least * frames, outliers(attention_TN, whisker).tolist(), [tokens - least] * frames)
    return [least + count for count in more]


def _prune_and_merge(
    features: Features, keep: int, name: str, uniform: float, neighbours: int, whisker: float, extra: bool
) -> Compressed:
    check_keep(features, keep)
    check_share("uniform", uniform)
    check_count("neighbours", neighbours)
    keys_TNK, attention_TN = features.need_keys_TNK(name), features.need_cls_attention_TN(name)
    tokens_TNC = features.tokens_TNC
    count = tokens_TNC.shape[1]
    kept, places = [], []
    for budget, frames in rows_by_count(frame_budgets(attention_TN, keep, whisker)).items():
        frame_F = torch.tensor(frames, device=tokens_TNC.device)
        tokens_FNC, attention_FN = tokens_TNC[frame_F], attention_TN[frame_F]
        own = budget - (extra and 1 < budget < count)
        chosen_FN = _choose(attention_FN, own, uniform)
        chosen_FM = where_true(chosen_FN, own)
        found = [(_merge(tokens_FNC, keys_TNK[frame_F], attention_FN, chosen_FM, neighbours), chosen_FM)]
        if own < budget:
            found.append(_extra(tokens_FNC, attention_FN, chosen_FN))
        for merged_FMC, place_FM in found:
            kept.append(merged_FMC.flatten(0, 1))
            places.append((frame_F.unsqueeze(-1) * count + place_FM).flatten())
    return compressed(features, keep, torch.cat(kept), torch.cat(places))


def _choose(attention_FN: Tensor, budget: int, uniform: float) -> Tensor:
    """A mask of `budget` tokens a frame: the highest attention, then evenly over what is left in raster order."""
    frames, tokens = attention_FN.shape
    spread = min(int(budget * uniform + 0.5), budget - 1)
    chosen_FN = top_scores(attention_FN, [budget - spread] * frames)
    if spread:
        rest = tokens - budget + spread
        rest_FR = where_true(~chosen_FN, rest)
        step_S = (2 * torch.arange(spread, device=rest_FR.device) + 1) * rest // (2 * spread)
        chosen_FN = chosen_FN.scatter(-1, rest_FR[:, step_S], True)
    return chosen_FN


def _merge(tokens_FNC: Tensor, keys_FNK: Tensor, attention_FN: Tensor, chosen_FM: Tensor, neighbours: int) -> Tensor:
    """Each chosen token plus its most similar others in the frame, weighted by their attention: ``(F, M, C)``."""
    keys_FMK = keys_FNK.take_along_dim(chosen_FM.unsqueeze(-1), dim=1)
    likeness_FMN = cosines(keys_FMK, keys_FNK).scatter(-1, chosen_FM.unsqueeze(-1), -torch.inf)
    near_FMJ = ranked(likeness_FMN)[..., : min(neighbours, tokens_FNC.shape[1] - 1)]
    weights_FMN = torch.zeros_like(likeness_FMN)
    attention_FMN = attention_FN.to(weights_FMN.dtype).unsqueeze(1).expand_as(weights_FMN)
    weights_FMN = weights_FMN.scatter(-1, near_FMJ, attention_FMN.gather(-1, near_FMJ))
    added_FMC = product(weights_FMN.to(tokens_FNC.dtype), tokens_FNC)
    return tokens_FNC.take_along_dim(chosen_FM.unsqueeze(-1), dim=1) + added_FMC


def _extra(tokens_FNC: Tensor, attention_FN: Tensor, chosen_FN: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of a frame's tokens that were not chosen, weighted by attention, and the largest weight's position."""
    weights_F1N = attention_FN.masked_fill(chosen_FN, 0).to(tokens_FNC.dtype).unsqueeze(1)
    return product(weights_F1N, tokens_FNC), attention_FN.masked_fill(chosen_FN, -1).argmax(dim=-1, keepdim=True)
