"""Which visual tokens an LLM drops after which of its layers: FastV, PyramidDrop, and halves of others.

See `ops.llm_pruning` for what each does, and `llm_pruning.PrunedVideoLLM` for the model that does it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from liteframe.models.rivals.llm_layers import Rotary, attention_rows, last_token_attention
from liteframe.ops.compressors.official import Official
from liteframe.ops.llm_pruning import Plan, kept_of_lines, kept_places, merge_into_kept, once_plan, pyramid_plan


@dataclass(frozen=True)
class Pruner(ABC):
    """Which visual tokens are dropped after which layers.

    Args:
        ratio: of the visual tokens that the LLM is shown to those that its last layer sees.
    """

    ratio: float = 16.0

    ranks_with_next_layer = False
    """Whether the layer after the pruning says which tokens stay, or the one before it."""
    official: ClassVar[Official]
    """How it stands to its authors' code."""

    def scores(self, layer: Any, hidden_1LC: Tensor, rotary: Rotary, visual_L: Tensor) -> Tensor:
        """How much each token matters to a layer that these states go into, (L,)."""
        return last_token_attention(layer, hidden_1LC, rotary)

    def kept(self, scores_L: Tensor, visual_L: Tensor, keep: int) -> Tensor:
        """Places that stay, ascending: all text, and `keep` visual tokens."""
        return kept_places(scores_L, visual_L, keep)

    def left(self, hidden_1LC: Tensor, visual_L: Tensor, kept_K: Tensor) -> Tensor:
        """States of the places that stay, (1, K, C)."""
        return hidden_1LC[:, kept_K]

    @abstractmethod
    def plan(self, tokens: int, layers: int) -> Plan:
        """How many of the visual tokens are left after which layers."""


@dataclass(frozen=True)
class OncePruner(Pruner):
    """Drops tokens after a single layer.

    Args:
        after: that layer; None is the authors' depth, or as deep a share of the layers of another LLM.
    """

    after: int | None = None

    depth: ClassVar[float]
    """Share of the layers that run before, in the authors' LLM."""

    def plan(self, tokens: int, layers: int) -> Plan:
        return once_plan(tokens, layers, self.ratio, depth_of(layers, self.depth) if self.after is None else self.after)


@dataclass(frozen=True)
class FastV(OncePruner):
    """See `ops.llm_pruning.once_plan`."""

    depth = 2 / 32
    official = Official(
        "the whole prompt",
        "tokens go after a layer as deep as 2 of 32, in the tiny LLM after 1 of 3; the share follows from the ratio",
        "the same tokens stay of the same states; after 2 of 3 layers 0.812 for 0.808 at 16 frames (240 questions),"
        " with more tokens",
    )


@dataclass(frozen=True)
class PyramidDrop(Pruner):
    """See `ops.llm_pruning.pyramid_plan`.

    Args:
        stages: of layers; None is the paper's 4, or one a layer of fewer layers.
    """

    stages: int | None = None

    ranks_with_next_layer = True
    official = Official(
        "the whole prompt",
        "kept tokens keep their positions, where the official code counts them anew; the share of each stage follows"
        " from the ratio",
        "nothing: the same tokens stay of the same states; counted anew 0.971 for 0.975 at 64 frames (240 questions)",
    )

    def plan(self, tokens: int, layers: int) -> Plan:
        return pyramid_plan(tokens, layers, self.ratio, min(4, layers) if self.stages is None else self.stages)


@dataclass(frozen=True)
class PruneVidInside(OncePruner):
    """PruneVid's half inside the LLM: tokens that no word of the question attends to are dropped.

    Args:
        ratio: the paper leaves 0.4.
    """

    ratio: float = 2.5

    depth = 11 / 32
    official = Official(
        "segments of the video before the LLM, a `Frame` line inside",
        "before the LLM as PruneVid; inside it a line's tokens are ranked together, a segment's static ones among those"
        " of its first frame, and what rounding leaves over goes to the highest scores; the cache of the layers before"
        " is not cut, as no answer goes beyond its first token",
        "not measured",
    )

    def scores(self, layer: Any, hidden_1LC: Tensor, rotary: Rotary, visual_L: Tensor) -> Tensor:
        question = int(visual_L.nonzero().max()) + 1
        # The official code ranks by attention without positions and without a causal mask, beside what the layer does.
        return attention_rows(layer, hidden_1LC, None, question).amax(dim=(0, 1))

    def kept(self, scores_L: Tensor, visual_L: Tensor, keep: int) -> Tensor:
        return kept_of_lines(scores_L, visual_L, keep)


@dataclass(frozen=True)
class HoliTomInside(OncePruner):
    """HoliTom's half inside the LLM: the least attended tokens are merged into similar ones that stay.

    Args:
        ratio: the repository's scripts leave half.
    """

    ratio: float = 2.0

    depth = 18 / 28
    official = Official(
        "windows of the video before the LLM, the whole prompt inside",
        "before the LLM as HoliTom, but the ratio counts what the last layers see, where the official scripts count"
        " what the LLM is shown; tokens merge as deep as theirs",
        "inside the LLM nothing",
    )

    def left(self, hidden_1LC: Tensor, visual_L: Tensor, kept_K: Tensor) -> Tensor:
        return merge_into_kept(hidden_1LC[0], visual_L, kept_K)[None]


@dataclass(frozen=True)
class EarlyTomInside(HoliTomInside):
    """EarlyTom's half inside the LLM, which is HoliTom's, with the same settings in all of its scripts."""

    official = Official(
        "segments of the video before the LLM, the whole prompt inside",
        "before the LLM as EarlyTom, inside it as HoliTom; the ratio counts what the last layers see, where the"
        " official scripts count what the LLM is shown",
        "not measured",
    )


@dataclass(frozen=True)
class FlashVIDInside(OncePruner):
    """FlashVID's half inside the LLM, which is FastV deeper down.

    Args:
        ratio: the repository leaves 0.3.
    """

    ratio: float = 1 / 0.3

    depth = 20 / 28
    official = Official(
        "segments of the video before the LLM, the whole prompt inside",
        "before the LLM as FlashVID; the ratio counts what the last layers see, where the official code counts the mean"
        " over its 28 layers",
        "not measured",
    )


def depth_of(layers: int, share: float) -> int:
    """The layer at that share of all of them, but not the last."""
    return min(layers - 1, max(1, round(layers * share)))


PRUNERS: dict[str, type[Pruner]] = {
    "fastv": FastV,
    "pyramiddrop": PyramidDrop,
    "prunevid-llm": PruneVidInside,
    "holitom-llm": HoliTomInside,
    "earlytom-llm": EarlyTomInside,
    "flashvid-llm": FlashVIDInside,
}
"""Every pruner by the name of the method that it is, or is half of."""
