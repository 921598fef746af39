"""The option that a model finds likeliest, whatever it would write."""

from __future__ import annotations

import math
from collections.abc import Sequence

from liteframe.errors import DataError


def likeliest(option_logits: Sequence[float]) -> int:
    """Place of the highest logit, the first of those that are equal.

    Args:
        option_logits: one an option, as of its first token or that of its letter.

    Raises:
        DataError: there is none, or one is not a number.
    """
    if not option_logits or any(math.isnan(logit) for logit in option_logits):
        raise DataError(f"the logits of the options are {list(option_logits)}; numbers are needed: take another dtype")
    return max(range(len(option_logits)), key=option_logits.__getitem__)
