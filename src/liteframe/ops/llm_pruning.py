"""Which visual tokens stay at which layer of the LLM: FastV and PyramidDrop as plans of pure numbers.

Sources: Chen et al., "An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large
Vision-Language Models" (FastV, ECCV 2024, arXiv 2403.06764): behind layer K the visual tokens are ranked by the
attention that the prompt's last token pays them there, and a share of them goes. Xing et al., "PyramidDrop:
Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction" (CVPR 2025, arXiv 2410.17247):
the layers are cut into stages of equal length, and at the end of each but the last a fixed share of the visual tokens
goes, ranked by the attention of the prompt's last token. Of the official repositories (pkunlp-icler/FastV,
Cooperx521/PyramidDrop) the passages that rank and drop were read, of the papers only what others quote. As there: FastV
ranks by the attention of the layer it prunes behind, PyramidDrop by that of the layer it prunes in front of.

Decided here: the share follows from one budget, what is left behind the last pruning; kept tokens keep their positions.
Layers before the first pruning see everything, so the mean over layers is more than the budget, and is what latency
follows (`mean_tokens`).
"""

from __future__ import annotations

from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.compressors.ranking import ranked

Plan = dict[int, int]
"""How many visual tokens are left behind a layer, counted from 1; other layers drop none."""


def fastv_plan(tokens: int, layers: int, ratio: float, after: int = 2) -> Plan:
    """FastV: ``1/ratio`` of the tokens, at least 1, is left behind layer `after`.

    Raises:
        ConfigError: `after` is not one of the layers but the last, or the ratio is below 1.
    """
    _check(ratio)
    if not 1 <= after < layers:
        raise ConfigError(f"after is {after}; of {layers} layers, tokens can go behind 1 to {layers - 1}")
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


def _check(ratio: float) -> None:
    if ratio < 1:
        raise ConfigError(f"ratio is {ratio}; pruning leaves 1/ratio of the tokens, so give 1 or more")
