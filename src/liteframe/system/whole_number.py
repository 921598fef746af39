"""Whole numbers in texts that nobody vouches for."""

from __future__ import annotations

_MOST_DIGITS = 18
"""Fits 64 bits; of thousands of digits `int` itself makes an error of no family of ours."""


def whole_number(text: str) -> int | None:
    """The number from 0 on that a text of digits is, spaces around it or not; None for any other text, or a longer."""
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else None
