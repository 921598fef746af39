"""The option that a model finds likeliest, whatever it would write."""

from __future__ import annotations

import math
from collections.abc import Sequence

from liteframe.evaluation.scoring.reading import Reading, one


def likeliest(option_logits: Sequence[float]) -> Reading:
    """The option of the highest logit, the first of those that are equal.

    Args:
        option_logits: one an option, as of the first token of its letter.

    Raises:
        ValueError: there is none, or one is not a number.
    """
    if not option_logits or any(math.isnan(logit) for logit in option_logits):
        raise ValueError(f"a logit for each option is needed, none of them NaN, not {list(option_logits)}")
    return one(max(range(len(option_logits)), key=option_logits.__getitem__))
