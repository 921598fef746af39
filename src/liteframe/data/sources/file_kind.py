"""What a file that is given as the source of videos is: a list of them, or one video, whatever its ending."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path

from liteframe.data.sources.folder import VIDEO_SUFFIXES

_LISTS = frozenset({".json", ".jsonl", ".ndjson", ".parquet"})
_DELIMITERS = {".csv": "", ".tsv": r', delimiter="\t"'}
"""Of tables by their endings, as an argument in Python."""
_PARQUET = b"PAR1"
_TEXT_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HEAD_BYTES = 4096


def is_video(path: Path) -> bool:
    """Whether a file is one video: by an ending of those, or else by bytes that are no text.

    Raises:
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in _LISTS:
        return suffix in VIDEO_SUFFIXES
    head = _head(path)
    is_list = head.startswith((_PARQUET, *_TEXT_MARKS)) or head.lstrip().startswith((b"[", b"{"))
    return not is_list and _NO_TEXT.search(head) is not None


def other_list(path: Path) -> str:
    """What a list of another kind than is read here is, and how it becomes one that is; empty where it is no such."""
    suffix = path.suffix.lower()
    text = _head(path).removeprefix(codecs.BOM_UTF8).lstrip()
    if suffix in _LISTS or not text or text.startswith((b"[", b"{", _PARQUET, *_TEXT_MARKS)):
        return ""
    if suffix not in _DELIMITERS:
        return 'is text, but no list of JSON objects; write each line as {"path": "a.mp4"}'
    rows = "csv.DictReader(sys.stdin" + _DELIMITERS[suffix] + ")"
    command = f"python -c 'import csv, json, sys; [print(json.dumps(row)) for row in {rows}]'"
    made = shlex.quote(f"{path.stem}.jsonl")
    return f"is a table, not a list of JSON objects: make one of it by {command} < {shlex.quote(path.name)} > {made}"


def is_parquet(path: Path) -> bool:
    """Whether a list is a Parquet file, by its ending or first bytes."""
    return path.suffix.lower() == ".parquet" or _head(path).startswith(_PARQUET)


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)
