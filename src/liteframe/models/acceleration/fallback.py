"""The warning where a faster way fails and the plain one is taken; benchmarks refuse it."""

from __future__ import annotations

import warnings


class FallbackWarning(RuntimeWarning):
    """Something that would be faster cannot be had here, and the plain way is taken."""


def warn_of_fallback(what: str, error: Exception) -> None:
    """Says what is left out, and why."""
    warnings.warn(f"{what} is left out, as it failed: {short_reason(error)}", FallbackWarning, stacklevel=3)


def short_reason(error: Exception, most: int = 200) -> str:
    """An error's text on one line, or the name of its class where it has none."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]
