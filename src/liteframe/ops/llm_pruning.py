"""Which visual tokens stay at which layer of the LLM, and what becomes of the others: FastV, PyramidDrop and the halves
of PruneVid, HoliTom and EarlyTom inside the LLM.

Sources: Chen et al., "An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large
Vision-Language Models" (FastV, ECCV 2024, arXiv 2403.06764): after layer K the visual tokens are ranked by the
attention that the prompt's last token pays them there, and a share of them goes. Xing et al., "PyramidDrop:
Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction" (CVPR 2025, arXiv 2410.17247):
the layers are cut into stages of equal length, and at the end of each but the last a fixed share of the visual tokens
goes, ranked by the attention of the prompt's last token. Of the official repositories (pkunlp-icler/FastV,
Cooperx521/PyramidDrop) the passages that rank and drop were read, of the papers only what others quote. As there: FastV
ranks by the attention of the layer it prunes after, PyramidDrop by that of the layer it prunes in front of.

Huang et al., "PruneVid" (arXiv 2412.16117): after layer 11 of 32, of each part of the video the tokens stay that any
token of the question, in any head, attends to most, 0.4 of them; that attention is computed beside the layer's own,
from queries and keys before their rotation and without a causal mask. Shao et al., "HoliTom" (arXiv 2505.21334): after
layer 18 of 28 half stays, ranked as by FastV; each of the others goes into the most similar token that stays, one after
the other, each time as the mean of the two. For both the official repositories (Visual-AI/PruneVid, CC BY-NC-SA;
cokeshao/HoliTom, Apache-2.0) were read. EarlyTom (arXiv 2605.30010; viridisGreen/EarlyTom) repeats HoliTom's.

Decided here: the share follows from one budget, what is left after the last pruning; kept tokens keep their positions.
PruneVid's parts are the `Frame` lines of the prompt; the official code ranks a segment's static tokens, which stand in
its first frame, apart. What its rounding down leaves over goes to the highest scores of all lines.

Layers before the first pruning see everything, so the mean over layers is more than the budget, and is what latency
follows (`mean_tokens`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.compressors.ranking import ranked
from liteframe.ops.compressors.similarity import cosines, product

Plan = dict[int, int]
"""How many visual tokens are left after a layer, counted from 1; other layers drop none."""


def once_plan(tokens: int, layers: int, ratio: float, after: int = 2) -> Plan:
    """FastV, PruneVid and HoliTom: ``1/ratio`` of the tokens, at least 1, is left after layer `after`.

    Raises:
        ConfigError: `after` is not one of the layers but the last, or the ratio is below 1.
    """
    _check(ratio)
    if not 1 <= after < layers:
        raise ConfigError(f"after is {after}; of {layers} layers, tokens can go after 1 to {layers - 1}")
    return {after: max(1, round(tokens / ratio))}


def pyramid_plan(tokens: int, layers: int, ratio: float, stages: int = 4) -> Plan:
    """PyramidDrop: an equal share goes at the end of each stage but the last, until ``1/ratio`` is left.

    Args:
        tokens: visual ones of the prompt.
        layers: of the LLM.
        ratio: of all tokens to those of the last stage.
        stages: as many as the layers at most; the paper has four, and drops half each time (a ratio of 8).

    Raises:
        ConfigError: fewer than 2 stages or more than layers, or a ratio below 1.
    """
    _check(ratio)
    if not 2 <= stages <= layers:
        raise ConfigError(f"stages is {stages}; {layers} layers can be cut into 2 to {layers}")
    ends = [round(layers * stage / stages) for stage in range(1, stages)]
    return {end: max(1, round(tokens * ratio ** (-(i + 1) / len(ends)))) for i, end in enumerate(ends)}


def mean_tokens(plan: Plan, tokens: int, layers: int) -> float:
    """Visual tokens that a layer sees, mean over layers."""
    seen, total = tokens, 0
    for layer in range(1, layers + 1):
        total += seen
        seen = plan.get(layer, seen)
    return total / layers


def kept_places(scores_L: Tensor, visual_L: Tensor, keep: int) -> Tensor:
    """Places of the prompt that stay: all text, and the `keep` visual tokens of highest score; int64, ascending.

    Args:
        scores_L: a number a token; only those of visual tokens count. Of equal ones the first stays.
        visual_L: where visual tokens are.
        keep: how many of them stay, all where there are fewer.
    """
    place_V = visual_L.nonzero().squeeze(-1)
    stays_L = ~visual_L
    stays_L[place_V[ranked(scores_L[place_V])[:keep]]] = True
    return stays_L.nonzero().squeeze(-1)


def kept_of_lines(scores_L: Tensor, visual_L: Tensor, keep: int) -> Tensor:
    """As `kept_places`, but of each run of visual tokens at least its share of `keep`, rounded down, stays."""
    place_V = visual_L.nonzero().squeeze(-1)
    number_V = torch.arange(place_V.shape[0], device=place_V.device)
    run_V = (place_V.diff(prepend=place_V[:1]) > 1).cumsum(dim=0)
    size_R = torch.bincount(run_V)
    # Best first in each run, runs in their order: a run's tokens stand where they did, so its first is where it begins.
    order_V = ranked(scores_L[place_V])
    order_V = order_V[torch.sort(run_V[order_V], stable=True).indices]
    rank_V = number_V - (size_R.cumsum(dim=0) - size_R)[run_V]
    sure_V = torch.zeros_like(visual_L[place_V]).scatter(0, order_V, rank_V < (size_R * keep // len(place_V))[run_V])
    scores_L = scores_L.clone()
    scores_L[place_V[sure_V]] = torch.inf
    return kept_places(scores_L, visual_L, keep)


def merge_into_kept(states_LC: Tensor, visual_L: Tensor, kept_K: Tensor) -> Tensor:
    """States of the tokens that stay, (K, C), those of visual ones with what goes merged into them, as HoliTom does.

    One that goes joins the most similar, by cosine, of the visual tokens that stay. A token that m of them join, in the
    order of the prompt, becomes 2^-m of itself and 2^-(m-i+1) of the i-th.

    Args:
        states_LC: of all tokens.
        visual_L: where visual tokens are.
        kept_K: places that stay, ascending, all text among them.
    """
    gone_L = visual_L.clone()
    gone_L[kept_K] = False
    stays_K = visual_L[kept_K]
    gone_GC, stays_SC = states_LC[gone_L].float(), states_LC[kept_K[stays_K]].float()
    if not len(gone_GC):
        return states_LC[kept_K]
    joins_SG = cosines(gone_GC, stays_SC).argmax(dim=-1) == torch.arange(len(stays_SC), device=kept_K.device)[:, None]
    # How many join with or after each: every one of them halves what was there before.
    halvings_SG = joins_SG.flip(-1).cumsum(dim=-1).flip(-1)
    weight_SG = torch.where(joins_SG, 0.5**halvings_SG, 0.0)
    merged_SC = stays_SC * 0.5 ** halvings_SG[:, :1] + product(weight_SG, gone_GC)
    left_KC = states_LC[kept_K].clone()
    left_KC[stays_K] = merged_SC.to(left_KC.dtype)
    return left_KC


def _check(ratio: float) -> None:
    if ratio < 1:
        raise ConfigError(f"ratio is {ratio}; pruning leaves 1/ratio of the tokens, so give 1 or more")
