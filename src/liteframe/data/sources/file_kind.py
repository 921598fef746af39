"""What a file that is given as the source of videos is: a list of them, or one video, whatever its ending."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from liteframe.data.remote.content import other_kind
from liteframe.data.sources.video_suffixes import VIDEO_SUFFIXES
from liteframe.errors import ManifestError

_LISTS = frozenset({".json", ".jsonl", ".ndjson", ".parquet"})
_PARQUET = b"PAR1"
_TEXT_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HEAD_BYTES = 4096
_TABLE = (
    "is a table in text, and lists are JSONL, JSON or Parquet; call the column of the videos 'video', and write it as"
    " JSONL (pandas: read_csv(..., dtype=str, keep_default_na=False).to_json('list.jsonl', orient='records',"
    " lines=True), which leaves names such as 0012 and answers such as None as they are)"
)
_MIXTURE = (
    "is YAML, and lists are JSONL, JSON or Parquet; several are mixed by data.train, each with path, root and weight"
)
_OTHER_LISTS = {".csv": _TABLE, ".tsv": _TABLE, ".yaml": _MIXTURE, ".yml": _MIXTURE}
_TABLES = (".parquet", ".arrow")
"""Endings of the files that data sets are published in, and that nobody puts beside each video."""
LIST_ENDINGS = frozenset((*_LISTS, *_OTHER_LISTS, *_TABLES))
"""Endings of files that hold rows, or what tells of lists, whether they can be read or not."""


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


def is_parquet(path: Path) -> bool:
    """Whether a list is a Parquet file, by its ending or first bytes."""
    return path.suffix.lower() == ".parquet" or _head(path).startswith(_PARQUET)


def require_source(path: Path, name: str) -> None:
    """Raises ManifestError where a file is no list and no video by what it begins with, or a list of another form.

    Args:
        path: of the file; what has the ending of a video is left to who reads it.
        name: of the file, for messages.

    Raises:
        OSError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return
    head = _head(path)
    if kind := other_kind(head):
        raise ManifestError(f"{name}: is {kind}; give a list (JSONL, JSON, Parquet), a folder of videos, or a video")
    if suffix in _OTHER_LISTS and not head.removeprefix(codecs.BOM_UTF8).lstrip().startswith((b"[", b"{", _PARQUET)):
        raise ManifestError(f"{name}: {_OTHER_LISTS[suffix]}")


def lists_beside(names: Iterable[str], videos: int) -> str:
    """Why a folder is the wrong source, by the lists among its files and what to do; empty where it is not.

    Beside videos, lists are theirs unless tables are as many: then those are a data set with a video or two for show.

    Args:
        names: of the files in it, at any depth.
        videos: how many videos are among them.
    """
    endings = _TABLES if videos else LIST_ENDINGS
    lists = sorted(name for name in names if PurePath(name).suffix.lower() in endings)
    if not lists or len(lists) < videos:
        return ""
    told = repr(lists[0]) + (f" and {len(lists) - 1} more" if len(lists) > 1 else "")
    return f"lists lie in it ({told}); give a list by its own name, and several in data.train"


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)
