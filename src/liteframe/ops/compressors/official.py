"""What a reader of a comparison has to know of a rival: how what is built here stands to its authors' code."""

from __future__ import annotations

from typing import NamedTuple


class Official(NamedTuple):
    """How a method stands to its official code.

    Attributes:
        scope: what its tokens are compared within.
        differs: from the official code; what is not built at all stands elsewhere.
        costs: what that costs the method in shares of right answers, where that was measured; how many tokens agree on
            random features stands in docs/rivals.md.
    """

    scope: str
    differs: str
    costs: str
