"""`tokenizer.json`: a small program over text, whose regular expressions and replacements nobody vouches for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from liteframe.errors import ConfigError

_MOST_GROWTH = 64
_MOST_CHARACTERS = 4096
_REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")
_ADVICE = "copy the tokenizer of the published base VLM again"


def require_bounded_steps(fields: dict[str, Any], where: str) -> None:
    """Refuses a tokenizer that could make a text much longer, or search it for ever.

    Args:
        fields: of the file.
        where: file, for messages.

    Raises:
        ConfigError: a regular expression that repeats a group, or is very long; replacements that together make a text
            longer than so many times its length.
    """
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        growth = 1.0
        for step in _steps(fields.get(part)):
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and "Regex" in pattern:
                _require_simple(pattern["Regex"], f"{where}: {part}")
            if step.get("type") in ("Replace", "Prepend"):
                growth *= _growth(step, pattern)
        if growth > _MOST_GROWTH:
            raise ConfigError(f"{where}: {part} could make a text {growth:,.0f} times as long; {_ADVICE}")


def _steps(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a part of the file, the outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _steps(inner)


def _growth(step: dict[str, Any], pattern: Any) -> float:
    content = step.get("content", step.get("prepend"))
    replaced = pattern.get("String") if isinstance(pattern, dict) else None
    length = len(content) if isinstance(content, str) else _MOST_CHARACTERS
    return max(1.0, length / max(1, len(replaced) if isinstance(replaced, str) else 1))


def _require_simple(pattern: Any, where: str) -> None:
    if not isinstance(pattern, str) or len(pattern) > _MOST_CHARACTERS or _REPEATED_GROUP.search(pattern):
        raise ConfigError(f"{where} has the regular expression {str(pattern)[:60]!r}, which may have no end; {_ADVICE}")
