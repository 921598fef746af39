"""How an MP4 or QuickTime file is laid out, from the heads of its boxes."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST_BOXES = 10_000
_HEAD_BYTES = 8
_TRACK_ID_PLACE = {0: 12, 1: 20}
_ENTRIES_PLACE = 4
_NO_PICTURE = -1

Box = tuple[bytes, int, int]
"""Kind, start and end of the body."""


class _Odd(Exception):
    """Why a layout is not the plain one."""


def layout_doubt(path: str, track_id: int) -> str:
    """Why a track is not laid out in the plain way; empty where it is.

    Plain is one table of samples (no fragments), one kind of sample, and at most one stretch of it to be shown, perhaps
    after a pause.
    """
    with open(path, "rb") as file:
        try:
            top = list(_boxes(file, 0, os.path.getsize(path)))
            if any(kind == b"moof" for kind, _, _ in top):
                return "it is fragmented"
            tables = [box for box in top if box[0] == b"moov"]
            if len(tables) != 1:
                return f"it has {len(tables)} tables of contents"
            _require_plain(file, list(_boxes(file, *tables[0][1:])), track_id)
        except _Odd as odd:
            return str(odd)
    return ""


def _require_plain(file: BinaryIO, boxes: list[Box], track_id: int) -> None:
    if any(kind == b"mvex" for kind, _, _ in boxes):
        raise _Odd("it is fragmented")
    tracks = [list(_boxes(file, start, end)) for kind, start, end in boxes if kind == b"trak"]
    tracks = [track for track in tracks if _track_id(file, track) == track_id]
    if len(tracks) != 1:
        raise _Odd(f"{len(tracks)} of its tracks have the number {track_id}")
    for box in _inside(file, tracks[0], b"edts", b"elst"):
        _require_one_edit(file, box)
    for _, start, end in _inside(file, tracks[0], b"mdia", b"minf", b"stbl", b"stsd"):
        if (kinds := _number(file, start + _ENTRIES_PLACE, end)) != 1:
            raise _Odd(f"it has {kinds} kinds of samples")


def _require_one_edit(file: BinaryIO, box: Box) -> None:
    _, start, end = box
    wide = _read(file, start, 1, end) == b"\1"
    edits, size = _number(file, start + _ENTRIES_PLACE, end), 20 if wide else 12
    first = start + _ENTRIES_PLACE + 4
    if edits == 2 and _edit(file, first, end, wide)[0] == _NO_PICTURE:
        edits, first = 1, first + size
    if edits > 1:
        raise _Odd(f"its edit list has {edits} parts")
    if edits == 1 and (_edit(file, first, end, wide)[0] < 0 or _edit(file, first, end, wide)[1] != 1):
        raise _Odd("its edit list is not the usual one")


def _edit(file: BinaryIO, start: int, end: int, wide: bool) -> tuple[int, int]:
    """Time of the media at which an edit begins, and its speed."""
    if wide:
        time, speed, _ = struct.unpack(">qhh", _read(file, start + 8, 12, end))
    else:
        time, speed, _ = struct.unpack(">ihh", _read(file, start + 4, 8, end))
    return time, speed


def _track_id(file: BinaryIO, track: list[Box]) -> int | None:
    for kind, start, end in track:
        if kind == b"tkhd":
            place = _TRACK_ID_PLACE.get(_read(file, start, 1, end)[0])
            return None if place is None else _number(file, start + place, end)
    return None


def _inside(file: BinaryIO, boxes: list[Box], *way: bytes) -> list[Box]:
    """The boxes at the end of a way from one kind to the next."""
    for kind in way[:-1]:
        boxes = [inner for box in boxes if box[0] == kind for inner in _boxes(file, *box[1:])]
    return [box for box in boxes if box[0] == way[-1]]


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    for _ in range(_MOST_BOXES):
        if start + _HEAD_BYTES > end:
            return
        size, kind = struct.unpack(">I4s", _read(file, start, _HEAD_BYTES, end))
        head = _HEAD_BYTES
        if size == 1:
            size, head = struct.unpack(">Q", _read(file, start + head, 8, end))[0], 16
        stop = end if size == 0 else start + size
        if stop < start + head or stop > end:
            raise _Odd("its boxes do not fit into each other")
        yield kind, start + head, stop
        start = stop
    raise _Odd(f"it has more than {_MOST_BOXES} boxes")


def _number(file: BinaryIO, start: int, end: int) -> int:
    return int.from_bytes(_read(file, start, 4, end), "big")


def _read(file: BinaryIO, start: int, count: int, end: int) -> bytes:
    if start + count > end:
        raise _Odd("one of its boxes is too small")
    file.seek(start)
    data = file.read(count)
    if len(data) != count:
        raise _Odd("one of its boxes is cut short")
    return data
