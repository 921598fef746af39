"""What Matroska and WebM files say of their video tracks, in front of the first cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from liteframe.data.decoding.containers.matroska_end import ebml_number

_SEGMENT, _TRACKS, _TRACK, _TYPE, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0x1F43B675
_VIDEO = b"\1"
_PICTURE, _CROPS = 0xE0, (0x54AA, 0x54BB, 0x54CC, 0x54DD)
_HEAD_BYTES = 1 << 16


def video_tracks(file: BinaryIO) -> list[bytes]:
    """The entries of video tracks."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    tracks = [body for segment in bodies_of(head, _SEGMENT) for body in bodies_of(segment, _TRACKS)]
    entries = [entry for each in tracks for entry in bodies_of(each, _TRACK)]
    return [entry for entry in entries if _VIDEO in bodies_of(entry, _TYPE)]


def asks_to_crop(file: BinaryIO) -> bool:
    """Whether pictures of a video track are to be cropped."""
    pictures = [picture for entry in video_tracks(file) for picture in bodies_of(entry, _PICTURE)]
    return any(any(body) for picture in pictures for crop in _CROPS for body in bodies_of(picture, crop))


def bodies_of(data: bytes, identity: int) -> list[bytes]:
    """The bodies of elements of one kind."""
    return [body for kind, body in _elements(data) if kind == identity]


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Elements of EBML up to the first cluster, the last as far as it is there."""
    position = 0
    try:
        while position < len(data):
            identity, after = ebml_number(data, position, keep_marker=True)
            length, body = ebml_number(data, after, keep_marker=False)
            end = len(data) if length is None else body + length
            if identity is None or identity == _CLUSTER:
                return
            yield identity, data[body:end]
            position = end
    except IndexError:
        return
