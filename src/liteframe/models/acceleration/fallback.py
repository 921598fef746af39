"""Where a faster way fails and the plain one is taken: one warning of a kind of its own, so that benchmarks can refuse it."""

from __future__ import annotations

import warnings


class FallbackWarning(RuntimeWarning):
    """Something that would be faster cannot be had here, and the plain way is taken."""


def warn_of_fallback(what: str, error: Exception) -> None:
    """Says what is left out, and the first line of why."""
    reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    warnings.warn(f"{what} is left out, as it failed: {reason}", FallbackWarning, stacklevel=3)
