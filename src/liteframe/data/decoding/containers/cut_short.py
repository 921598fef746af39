"""Which files end before what their containers announce, from the sizes in their headers and their last bytes."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.containers.matroska_end import missing_of_matroska
from liteframe.data.decoding.containers.mp4_boxes import Odd, boxes_in, end_of_boxes
from liteframe.data.decoding.containers.ts_joins import HEAD_BYTES, layout_of
from liteframe.errors import DecodeError

_TAIL_BYTES = 1 << 17
_ASF_HEAD, _ASF_FILE, _ASF_DATA = (
    bytes.fromhex(text)
    for text in (
        "3026b2758e66cf11a6d900aa0062ce6c",
        "a1dcab8c47a9cf118ee400c00c205365",
        "3626b2758e66cf11a6d900aa0062ce6c",
    )
)
_FILLING = {b"free", b"skip", b"wide", b"udta", b"uuid", b"meta", b"pnot"}
_ASF_DATA_HEAD_BYTES = 50
_MXF_HEADER = bytes.fromhex("060e2b34020501010d0102010102")
_FLV_KINDS = {8, 9, 18}
_LAST_TAGS = 32
_MOST_PARTS = 10_000
_MOST_FRAMES = 1_000_000
"""Nine hours at 30 frames a second; of a longer video the end is not looked at."""
_OGG_END = 4
_HEAD_BYTES = 256
_Y4M_COLOURS = re.compile(rb"(?P<chroma>mono|4(?:20|22|11|44))(?:jpeg|mpeg2|paldv|(?P<alpha>alpha))?p?(?P<bits>[0-9]*)")
_Y4M_CHROMA = {b"mono": (0, 0), b"420": (2, 2), b"422": (2, 1), b"411": (4, 1), b"444": (1, 1)}
"""Columns and rows of pixels that share a colour; 0 where there is none."""
_RIFF_SLACK = 16
"""Bytes by which writers of AVI miscount the size of the file, and fill up its last chunk."""


CUT = "is cut short"
"""How the reason of a file begins that ends before its time."""


_last: tuple[tuple[int, int, int, int, str], str] | None = None
"""The file that was asked for last, and the answer: each reader of a file asks."""


class CutShort(DecodeError):
    """A file ends before its time; the setting `data.truncated` lets what is there be used."""


def missing(file: BinaryIO, container: str) -> str:
    """What a file lacks at its end; empty where nothing is known to be missing.

    Args:
        file: opened, of any position.
        container: FFmpeg's name, of which the first word counts ("mov,mp4,...").
    """
    global _last
    found, kind = os.fstat(file.fileno()), container.split(",")[0]
    key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, kind
    last = _last
    if last is not None and last[0] == key:
        return last[1]
    try:
        lacks = _CHECKS[kind](file, found.st_size) if kind in _CHECKS else ""
    except (struct.error, LookupError, ValueError, ArithmeticError):  # a head that is no longer whole: FFmpeg says so
        lacks = ""
    _last = key, lacks
    return lacks


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(max(start, 0))
    return file.read(count)


def _bytes_missing(end: int, size: int) -> str:
    return f"{end - size} of its {end} bytes are missing" if end > size else ""


def _mp4(file: BinaryIO, size: int) -> str:
    lacks = _bytes_missing(end_of_boxes(file, size), size)
    return "" if lacks and _lacks_filling_only(file, size) else lacks


def _lacks_filling_only(file: BinaryIO, size: int) -> bool:
    """Whether the box that goes on behind the end of a file holds no samples, and nothing is listed behind it.

    Where the table of contents lists samples there, whoever reads it says so.
    """
    whole, place = set[bytes](), 0
    try:
        for kind, _, stop in boxes_in(file, 0, size):
            whole.add(kind)
            place = stop
    except Odd:
        pass
    return _read(file, place + 4, 4) in _FILLING and b"moov" in whole and not whole & {b"moof", b"sidx"}


def _asf(file: BinaryIO, size: int) -> str:
    head = _read(file, 0, 30)
    if head[:16] != _ASF_HEAD:
        return ""
    (header_bytes,) = struct.unpack_from("<Q", head, 16)
    header = _read(file, 0, min(header_bytes, _TAIL_BYTES))
    place = header.find(_ASF_FILE)
    flags, least, most = struct.unpack_from("<3I", header, place + 88) if place >= 0 else (0, 0, 0)
    data = _read(file, header_bytes, 24)
    if data[:16] != _ASF_DATA:
        return "" if flags & 1 else _bytes_missing(header_bytes + 24, size)
    end = header_bytes + struct.unpack_from("<Q", data, 16)[0]
    if not flags & 1:
        return _bytes_missing(end, size)
    # a broadcast, whose sizes are not known but for that of its packets
    first = header_bytes + _ASF_DATA_HEAD_BYTES
    whole = first < end <= size or not 0 < least == most or (size - first) % least == 0
    return "" if whole else "its last packet is not whole"


def _avi(file: BinaryIO, size: int) -> str:
    position = 0
    for _ in range(_MOST_PARTS):  # files of more than a GiB have several
        if position + 12 > size:
            break
        kind, length, form = struct.unpack("<4sI4s", _read(file, position, 12))
        if kind != b"RIFF" or not form.startswith(b"AVI") or length == 0:  # 0: never written, as by a recorder
            return ""
        end = position + 8 + length
        if end > size + _RIFF_SLACK:
            return _bytes_missing(end, size)
        position = end + length % 2
    return ""


def _flv(file: BinaryIO, size: int) -> str:
    (head_bytes,) = struct.unpack(">I", _read(file, 5, 4))
    metadata = _read(file, head_bytes, 4096)
    if _flv_number(metadata, b"filesize") > size:
        return _bytes_missing(int(_flv_number(metadata, b"filesize")), size)
    last, end = 0.0, size
    for tag in range(_LAST_TAGS):  # marks of the end of one stream may come behind those of another
        (tag_bytes,) = struct.unpack(">I", _read(file, end - 4, 4))
        end -= 4 + tag_bytes
        if tag and end < head_bytes:
            break
        head = _read(file, end, 11) if tag_bytes >= 11 and end >= head_bytes else bytes(11)
        if head[0] & 31 not in _FLV_KINDS or int.from_bytes(head[1:4], "big") + 11 != tag_bytes:
            return "" if tag else "it ends within a packet"
        last = max(last, (int.from_bytes(head[4:7], "big") | head[7] << 24) / 1000)
    whole = _flv_number(metadata, b"duration")
    return f"it ends at {last:.1f} of {whole:.1f} s" if whole > last + 1 + 0.05 * whole else ""


def _flv_number(head: bytes, name: bytes) -> float:
    place = head.find(struct.pack(">H", len(name)) + name + b"\0")
    return struct.unpack_from(">d", head, place + len(name) + 3)[0] if place >= 0 else 0.0


def _transport_stream(file: BinaryIO, size: int) -> str:
    layout = layout_of(_read(file, 0, HEAD_BYTES))
    return "its last packet is not whole" if layout is not None and size % layout[0] else ""


def _program_stream(file: BinaryIO, size: int) -> str:
    start = max(size - _TAIL_BYTES, 0)
    tail = _read(file, start, _TAIL_BYTES)
    position = tail.find(b"\0\0\1\xba")
    while 0 <= position < len(tail):
        if len(tail) - position < 6:
            return "" if tail[position : position + 4] == b"\0\0\1\xb9" else "its last packet is not whole"
        if tail[position : position + 3] != b"\0\0\1":
            return ""  # filling, or damage, which the demuxer sees
        code = tail[position + 3]
        if code == 0xB9:
            position += 4
        elif code == 0xBA:
            mpeg2 = tail[position + 4] >> 6 == 1
            position += 14 + (tail[position + 13] & 7) if mpeg2 else 12
        elif code >= 0xBB:
            position += 6 + int.from_bytes(tail[position + 4 : position + 6], "big")
        else:
            return ""
    return "its last packet is not whole" if position > len(tail) else ""


def _ogg(file: BinaryIO, size: int) -> str:
    tail = _read(file, size - _TAIL_BYTES, _TAIL_BYTES)
    page = tail.rfind(b"OggS\0")
    if page < 0:
        return ""
    lacing = tail[page + 27 : page + 27 + tail[page + 26]]
    whole = len(lacing) == tail[page + 26] and page + 27 + len(lacing) + sum(lacing) == len(tail)
    if not whole:
        return "its last page is not whole"
    return "" if tail[page + 5] & _OGG_END else "its end mark is missing"


def _gif(file: BinaryIO, size: int) -> str:
    return "" if _read(file, size - 64, 64).rstrip(b"\0").endswith(b";") else "its end mark is missing"


def _apng(file: BinaryIO, size: int) -> str:
    return "" if b"IEND" in _read(file, size - 64, 64) else "its end mark is missing"


def _ivf(file: BinaryIO, size: int) -> str:
    position = int.from_bytes(_read(file, 6, 2), "little")
    for _ in range(_MOST_FRAMES):
        if position + 12 > size:
            return "" if position == size else "its last frame is not whole"
        heartbeat.step()
        length = int.from_bytes(_read(file, position, 4), "little")
        if not length:  # filling, or damage, which the demuxer sees
            return ""
        position += 12 + length
    return ""


def _y4m(file: BinaryIO, size: int) -> str:
    words = _read(file, 0, _HEAD_BYTES).partition(b"\n")[0].split(b" ")
    told = {word[:1]: word[1:] for word in words[1:]}
    kind = _Y4M_COLOURS.fullmatch(told.get(b"C", b"420"))
    if kind is None:
        return ""
    width, height, (across, down) = int(told[b"W"]), int(told[b"H"]), _Y4M_CHROMA[kind["chroma"]]
    samples = width * height * (2 if kind["alpha"] else 1)
    samples += 2 * -(-width // across) * -(-height // down) if across else 0
    frame_bytes = samples * (2 if int(kind["bits"] or 8) > 8 else 1)
    position = len(b" ".join(words)) + 1
    for _ in range(_MOST_FRAMES):
        if position == size:
            return ""
        heartbeat.step()
        line, end, _ = _read(file, position, _HEAD_BYTES).partition(b"\n")
        if not line.startswith(b"FRAME"[: len(line)]):
            return ""  # damage, which the demuxer sees
        position += len(line) + len(end) + frame_bytes
        if not end or position > size:
            return "its last frame is not whole"
    return ""


def _mxf(file: BinaryIO, size: int) -> str:
    head = _read(file, 0, _TAIL_BYTES)
    place = head.find(_MXF_HEADER)
    if place < 0:
        return ""
    length = head[place + 16]
    pack = place + 17 + (length & 127 if length & 128 else 0)
    (footer,) = struct.unpack_from(">Q", head, pack + 24)  # 0: not known when the header was written
    return "its end mark is missing" if place + footer >= size else ""


def _swf(file: BinaryIO, size: int) -> str:
    head = _read(file, 0, 8)
    return _bytes_missing(int.from_bytes(head[4:8], "little"), size) if head[:3] == b"FWS" else ""


_CHECKS: dict[str, Callable[[BinaryIO, int], str]] = {
    "matroska": missing_of_matroska,
    "mov": _mp4,
    "asf": _asf,
    "avi": _avi,
    "flv": _flv,
    "mpegts": _transport_stream,
    "mpeg": _program_stream,
    "ogg": _ogg,
    "ivf": _ivf,
    "yuv4mpegpipe": _y4m,
    "mxf": _mxf,
    "swf": _swf,
    "gif": _gif,
    "apng": _apng,
}
