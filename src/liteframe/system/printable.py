"""Texts of strangers on a terminal or in a list: what would break, turn or repaint a line is escaped."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with control characters, which would break, turn or repaint a line, as their escapes."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1] if match[0] > "\xff" else f"\\x{ord(match[0]):02x}", text)
