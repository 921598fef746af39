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
_MOVIE_MATRIX, _TRACK_MATRIX = (36, 48), (40, 52)
"""Places of matrices, in headers with times of 4 and of 8 bytes."""
_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_NO_PICTURE = -1
_TOP = frozenset(b"ftyp moov mdat moof mfra styp sidx ssix prft emsg free skip wide udta meta uuid pdin pnot".split())

Box = tuple[bytes, int, int]
"""Kind, start and end of the body."""


class Odd(Exception):
    """Why a layout is not the plain one."""


class OddEdits(Odd):
    """Other than one stretch of a track is to be shown."""


def layout_doubt(file: BinaryIO, track_id: int) -> Odd | None:
    """Why a track is not laid out in the plain way; None where it is.

    Plain is one table of samples (no fragments), one kind of sample, and at most one stretch of it to be shown, perhaps
    after a pause.
    """
    try:
        plain_track(file, track_id)
    except Odd as odd:
        return odd
    return None


def plain_track(file: BinaryIO, track_id: int) -> tuple[list[Box], list[Box]]:
    """The boxes of the table of contents, and those of a track of it.

    Raises:
        Odd: they are not laid out in the plain way.
    """
    top = list(boxes_in(file, 0, os.fstat(file.fileno()).st_size))
    if any(kind == b"moof" for kind, _, _ in top):
        raise Odd("it is fragmented")
    tables = [box for box in top if box[0] == b"moov"]
    if len(tables) != 1:
        raise Odd(f"it has {len(tables)} tables of contents")
    movie = list(boxes_in(file, *tables[0][1:]))
    if any(kind == b"mvex" for kind, _, _ in movie):
        raise Odd("it is fragmented")
    tracks = [list(boxes_in(file, start, end)) for kind, start, end in movie if kind == b"trak"]
    tracks = [track for track in tracks if _track_id(file, track) == track_id]
    if len(tracks) != 1:
        raise Odd(f"{len(tracks)} of its tracks have the number {track_id}")
    for box in inside(file, tracks[0], b"edts", b"elst"):
        _require_one_edit(file, box)
    for _, start, end in inside(file, tracks[0], b"mdia", b"minf", b"stbl", b"stsd"):
        if (kinds := number_at(file, start + _ENTRIES_PLACE, end)) != 1:
            raise Odd(f"it has {kinds} kinds of samples")
    return movie, tracks[0]


def end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where a file ends by the lengths of its boxes and the index of its segments; at least `size`."""
    position = end = 0
    for _ in range(_MOST_BOXES):
        if position + _HEAD_BYTES > size:
            break
        file.seek(position)
        head = file.read(2 * _HEAD_BYTES)
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        if length < _HEAD_BYTES or kind not in _TOP:  # 0: to the end of the file, whatever that is; or filling
            break
        position += length
        if kind == b"sidx" and position <= size:
            end = max(end, position + _bytes_of_segments(file, position - length, length))
    return max(end, position if position > size else 0, size)


def _bytes_of_segments(file: BinaryIO, start: int, length: int) -> int:
    """Bytes between an index of segments and the end of the last one that it lists."""
    file.seek(start)
    body = file.read(min(length, 1 << 20))[_HEAD_BYTES:]
    place = 28 if body[0] else 20
    first = int.from_bytes(body[place - 8 if body[0] else place - 4 : place], "big")
    (count,) = struct.unpack_from(">H", body, place + 2)
    sizes = [struct.unpack_from(">I", body, place + 4 + 12 * index)[0] & 0x7FFFFFFF for index in range(count)]
    return first + sum(sizes)


def edit_list(file: BinaryIO, track: list[Box]) -> list[tuple[int, int]]:
    """(duration in units of the movie, time of the media at which it begins or -1) of each edit of a track."""
    edits = []
    for _, start, end in inside(file, track, b"edts", b"elst"):
        wide = read_at(file, start, 1, end) == b"\1"
        for index in range(number_at(file, start + _ENTRIES_PLACE, end)):
            place = start + 8 + index * (20 if wide else 12)
            data = read_at(file, place, 16 if wide else 8, end)
            edits.append(struct.unpack(">Qq" if wide else ">Ii", data))
    return edits


def track_matrix(file: BinaryIO, track_id: int) -> tuple[int, ...] | None:
    """The 9 numbers that say how pictures of a track are turned; None where it is odd, or all tracks are turned."""
    try:
        top = boxes_in(file, 0, os.fstat(file.fileno()).st_size)
        movie = [box for kind, start, end in top if kind == b"moov" for box in boxes_in(file, start, end)]
        if any(_matrix(file, box, _MOVIE_MATRIX) != _UPRIGHT for box in movie if box[0] == b"mvhd"):
            return None
        tracks = [list(boxes_in(file, start, end)) for kind, start, end in movie if kind == b"trak"]
        headers = [box for track in tracks if _track_id(file, track) == track_id for box in track if box[0] == b"tkhd"]
        return _matrix(file, headers[0], _TRACK_MATRIX) if headers else None
    except Odd:
        return None


def _matrix(file: BinaryIO, box: Box, places: tuple[int, int]) -> tuple[int, ...]:
    _, start, end = box
    wide = read_at(file, start, 1, end) == b"\1"
    return struct.unpack(">9i", read_at(file, start + places[wide], 36, end))


def _require_one_edit(file: BinaryIO, box: Box) -> None:
    _, start, end = box
    wide = read_at(file, start, 1, end) == b"\1"
    edits, size = number_at(file, start + _ENTRIES_PLACE, end), 20 if wide else 12
    first = start + _ENTRIES_PLACE + 4
    if edits == 2 and _edit(file, first, end, wide)[0] == _NO_PICTURE:
        edits, first = 1, first + size
    if edits > 1:
        raise OddEdits(f"its edit list has {edits} parts")
    if edits == 1 and (_edit(file, first, end, wide)[0] < 0 or _edit(file, first, end, wide)[1] != 1):
        raise OddEdits("its edit list is not the usual one")


def _edit(file: BinaryIO, start: int, end: int, wide: bool) -> tuple[int, int]:
    """Time of the media at which an edit begins, and its speed."""
    if wide:
        time, speed, _ = struct.unpack(">qhh", read_at(file, start + 8, 12, end))
    else:
        time, speed, _ = struct.unpack(">ihh", read_at(file, start + 4, 8, end))
    return time, speed


def _track_id(file: BinaryIO, track: list[Box]) -> int | None:
    for kind, start, end in track:
        if kind == b"tkhd":
            place = _TRACK_ID_PLACE.get(read_at(file, start, 1, end)[0])
            return None if place is None else number_at(file, start + place, end)
    return None


def inside(file: BinaryIO, boxes: list[Box], *way: bytes) -> list[Box]:
    """The boxes at the end of a way from one kind to the next."""
    for kind in way[:-1]:
        boxes = [inner for box in boxes if box[0] == kind for inner in boxes_in(file, *box[1:])]
    return [box for box in boxes if box[0] == way[-1]]


def boxes_in(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    for _ in range(_MOST_BOXES):
        if start + _HEAD_BYTES > end:
            return
        size, kind = struct.unpack(">I4s", read_at(file, start, _HEAD_BYTES, end))
        head = _HEAD_BYTES
        if size == 1:
            size, head = struct.unpack(">Q", read_at(file, start + head, 8, end))[0], 16
        stop = end if size == 0 else start + size
        if stop < start + head or stop > end:
            raise Odd("its boxes do not fit into each other")
        yield kind, start + head, stop
        start = stop
    raise Odd(f"it has more than {_MOST_BOXES} boxes")


def number_at(file: BinaryIO, start: int, end: int) -> int:
    return int.from_bytes(read_at(file, start, 4, end), "big")


def read_at(file: BinaryIO, start: int, count: int, end: int) -> bytes:
    if start + count > end:
        raise Odd("one of its boxes is too small")
    file.seek(start)
    data = file.read(count)
    if len(data) != count:
        raise Odd("one of its boxes is cut short")
    return data
