"""Records as JSON files: written whole, with lists of numbers on one line, and read back with errors by name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liteframe.errors import DataError
from liteframe.system.atomic import atomic_write_text
from liteframe.system.bounded_text import parse_json


def write_json(path: str | os.PathLike[str], data: Mapping[str, Any]) -> Path:
    """Write JSON whole or not at all; lists of numbers stay on one line.

    Raises:
        ValueError: a number is not finite (JSON has no word for it).
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = _numbers_on_one_line(json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False))
    atomic_write_text(target, text + "\n")
    return target


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file; ``DataError`` names a file that cannot be read."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not a readable record ({error}); write it again") from error
    data = parse_json(text, str(path), DataError)
    if not isinstance(data, dict):
        raise DataError(f"{path}: a record must be a JSON object, this is a {type(data).__name__}")
    return data


def _numbers_on_one_line(text: str) -> str:
    number = r"-?\d[\d.eE+-]*"
    return re.sub(
        rf"\[\s*({number}(?:,\s+{number})*)\s*\]", lambda hit: "[" + re.sub(r"\s+", " ", hit.group(1)) + "]", text
    )
