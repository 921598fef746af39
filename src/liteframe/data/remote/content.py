"""A cheap look at what came down: whether it can be a video at all, and whether its container is cut short."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 1024
"""So much of the start is looked at."""
_MOST_BOXES = 1_000_000
_BOXES = b"ftyp styp moov moof mdat mfra free skip wide pnot uuid sidx ssix prft emsg meta udta junk PICT".split()
_MARKUP = re.compile(rb"\s*(<!doctype\s+html|<html|<head|<body|<script|<title|<meta|<!--)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_STARTS = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer; fetch what it stands for (`git lfs pull`)",
    b"#EXTM3U": "a playlist",
    b"\x00\x05\x16\x07": "a side file of macOS, not the video",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"BZh": "a bzip2 archive",
    b"ARROW1\x00\x00": "an Arrow file",
    b"SQLite format 3\x00": "an SQLite database",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n": "an HDF5 file",
    **dict.fromkeys((b"\x80\x04\x95", b"\x80\x05\x95"), "a pickle"),
}
_PAGE = "a web page"
_TAR, _TAR_PLACE = b"ustar", 257
_TEXT_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def not_a_video(head: bytes) -> str:
    """What a file is that starts with `head` and cannot be a video; empty where it may be one."""
    if not head:
        return "empty"
    if kind := other_kind(head):
        return f"{kind}, not a video" if kind.startswith(_PAGE) else kind
    plain = _without_mark(head)
    text = _as_text(plain)
    if text is None or text.startswith("YUV4MPEG2 "):
        return ""
    kind = {"<": "an XML text", "{": "a JSON text", "[": "a JSON text"}.get(text.lstrip()[:1], "a text")
    return f"{kind} ({_quote(plain)}), not a video"


def other_kind(head: bytes) -> str:
    """What a file is that starts with `head` and is neither a video nor a list of them; empty where it may be one."""
    plain = _without_mark(head)
    for start, name in _STARTS.items():
        if plain.startswith(start):
            return name
    if plain[_TAR_PLACE:].startswith(_TAR):
        return "a tar archive (a shard of WebDataset?); unpack it"
    if not _MARKUP.match(plain):
        return ""
    title = _TITLE.search(plain)
    return _PAGE + (f" ({_quote(title[1])})" if title else "")


def _without_mark(head: bytes) -> bytes:
    """UTF-8 without its mark, also of what is marked as UTF-16."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            text = head[2 : len(head) // 2 * 2].decode(encoding, errors="replace")
            return head if _TEXT_CONTROLS.search(text) or "\ufffd" in text[:-1] else text.encode()
    return head.removeprefix(codecs.BOM_UTF8)


def _as_text(head: bytes) -> str | None:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return None
    return None if _TEXT_CONTROLS.search(text) else text


def _quote(text: bytes) -> str:
    return repr(" ".join(text[:200].decode(errors="replace").split())[:80])


def missing_bytes(path: str | os.PathLike[str]) -> int:
    """How many bytes a container announces behind the end of its file: of MP4 and QuickTime, Matroska and WebM, AVI.

    0 too where the container does not tell, as those of streams.
    """
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            end = _matroska_end(head)
        elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            end = _riff_end(file, size)
        else:
            end = _boxes_end(file, size)
    return max(0, end - size)


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the top-level boxes of an ISO base media file end."""
    position = 0
    for _ in range(_MOST_BOXES):
        file.seek(position)
        header = file.read(16)
        if header[4:8] not in _BOXES:
            break
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0 goes to the end of the file
            break
        position += length
        if position >= size:
            break
    return position


def _riff_end(file: BinaryIO, size: int) -> int:
    position = 0
    for _ in range(_MOST_BOXES):
        if position >= size:
            break
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if len(header) < 8 or header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            break
        position += 8 + length
    return position


def _matroska_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 where it is of no known length."""
    length, place = _number(head, 4)
    if length is None:
        return 0
    place += length
    if head[place : place + 4] != b"\x18\x53\x80\x67":
        return 0
    length, place = _number(head, place + 4)
    return 0 if length is None else place + length


def _number(data: bytes, place: int) -> tuple[int | None, int]:
    """An EBML number of variable length, None where it means "unknown", and the place behind it."""
    if place >= len(data) or not data[place]:
        return None, place
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    unknown = value == (1 << 7 * length) - 1 or place + length > len(data)
    return (None if unknown else value), place + length
