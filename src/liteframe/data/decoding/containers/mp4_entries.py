"""What the sample entry of an MP4 or QuickTime track says of its pictures: whether they are encrypted, how coloured."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from typing import BinaryIO

from liteframe.data.decoding.containers.mp4_boxes import Box, Odd, boxes_in, inside, number_at, read_at

_ENCRYPTED = {b"encv", b"drmi"}
_ENTRIES_PLACE, _FIELDS_BYTES = 8, 78
"""In a list of sample entries, where they begin; in an entry of pictures, bytes before its boxes."""
_SIZE_PLACE, _MOST_BYTES = 24, 64
_APERTURE = struct.Struct(">4I")
_DOLBY_VISION = {b"dvcC", b"dvvC", b"dvwC"}
_TRACK_ID_PLACES = 12, 20


def has_encrypted_samples(file: BinaryIO, track_id: int) -> bool:
    """Whether the pictures of a track are, by the kind of its sample entry; False, too, where the layout is odd."""
    return any(kind in _ENCRYPTED for kind, _, _ in _sample_entries(file, track_id))


def dolby_vision_profile(file: BinaryIO, track_id: int) -> int | None:
    """The profile of Dolby Vision that a track is of; None where it says none."""
    return next((body[2] >> 1 for _, body in _described(file, track_id, _DOLBY_VISION) if len(body) > 2), None)


def asks_to_crop(file: BinaryIO, track_id: int) -> bool:
    """Whether the clean aperture of a track leaves out a part of its coded pictures."""
    for size, body in _described(file, track_id, {b"clap"}):
        if len(body) >= _APERTURE.size:
            width, width_by, height, height_by = _APERTURE.unpack_from(body)
            return width < size[0] * width_by or height < size[1] * height_by
    return False


def _described(file: BinaryIO, track_id: int, kinds: Collection[bytes]) -> Iterator[tuple[tuple[int, int], bytes]]:
    """(width, height) of the pictures of each sample entry, with the boxes of some kinds in it."""
    try:
        for _, start, end in _sample_entries(file, track_id):
            size = struct.unpack(">HH", read_at(file, start + _SIZE_PLACE, 4, end))
            for kind, begin, stop in boxes_in(file, start + _FIELDS_BYTES, end):
                if kind in kinds:
                    yield (size[0], size[1]), read_at(file, begin, min(stop - begin, _MOST_BYTES), stop)
    except (Odd, struct.error):
        return


def _sample_entries(file: BinaryIO, track_id: int) -> list[Box]:
    try:
        top = boxes_in(file, 0, os.fstat(file.fileno()).st_size)
        movie = next((list(boxes_in(file, start, end)) for kind, start, end in top if kind == b"moov"), [])
        tracks = [list(boxes_in(file, start, end)) for kind, start, end in movie if kind == b"trak"]
        return [
            entry
            for track in tracks
            if _has_id(file, track, track_id)
            for _, start, end in inside(file, track, b"mdia", b"minf", b"stbl", b"stsd")
            for entry in boxes_in(file, start + _ENTRIES_PLACE, end)
        ]
    except (Odd, struct.error):
        return []


def _has_id(file: BinaryIO, track: list[Box], track_id: int) -> bool:
    for kind, start, end in track:
        if kind == b"tkhd":
            wide = read_at(file, start, 1, end) == b"\1"
            return number_at(file, start + _TRACK_ID_PLACES[wide], end) == track_id
    return False
