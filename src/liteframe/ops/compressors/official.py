"""What a reader of a comparison has to know of a rival: how what is built here stands to its authors' code."""

from __future__ import annotations

from typing import NamedTuple


class Official(NamedTuple):
    """How a method stands to its official code.

    Attributes:
        scope: what its tokens are compared within.
        differs: from the official code; what is not built at all stands elsewhere.
        costs: what that costs the method, measured where it could be.
    """

    scope: str
    differs: str
    costs: str
