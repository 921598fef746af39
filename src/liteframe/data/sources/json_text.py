"""JSON as lists of videos come in: JSONL (an object a line) or one list of objects; the first character tells which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liteframe.errors import ManifestError


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a JSONL file or of a JSON list, each with its place (`file:3`, or `file: row 3`).

    A line that is not JSON comes as the ManifestError that says so, and reading goes on behind it.

    Raises:
        ManifestError: the file is no UTF-8 text, or begins a list that is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: not UTF-8 text ({error.reason}); a list of videos is JSONL, a JSON list or Parquet"
        ) from error
    return _list_rows(path, text) if text.lstrip()[:1] == "[" else _lines(path, text)


def _list_rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{path}:{error.lineno}: not JSON ({error.msg} at column {error.colno}); repair it"
        ) from error
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, start=1))


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Not `splitlines`: JSON strings may hold the other characters that it splits at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, json.loads(line)
        except json.JSONDecodeError as error:
            hint = "write one object a line, or one list of objects"
            yield where, ManifestError(f"{where}: not JSON ({error.msg} at column {error.colno}); {hint}")
