"""Whether the pictures of a file are encrypted, as its container says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from liteframe.data.decoding.containers.matroska_end import ebml_number
from liteframe.data.decoding.containers.mp4_entries import has_encrypted_samples

_ASF_ENCRYPTIONS = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_SEGMENT, _TRACKS, _TRACK, _TYPE, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0x1F43B675
_TO_ENCRYPTION = (0x6D80, 0x6240, 0x5035)
_VIDEO = b"\1"
_HEAD_BYTES = 1 << 16
_FIRST_TRACKS = range(1, 9)
IS_ENCRYPTED = "is encrypted, and cannot be read: list a copy that is not"
"""What is said of such a file."""


def is_encrypted(file: BinaryIO, container: str, track_id: int | None = None) -> bool:
    """Whether the pictures of a file are; False, too, where its head is odd.

    Args:
        file: opened, of any position.
        container: FFmpeg's name, or the first word of it.
        track_id: FFmpeg's number of the stream, of which MP4 tells it; None for any of the first tracks.
    """
    if container.split(",")[0] == "mov":
        tracks = _FIRST_TRACKS if track_id is None else (track_id,)
        return any(has_encrypted_samples(file, track) for track in tracks)
    if container == "asf":
        head = _head(file)
        header = head[: int.from_bytes(head[16:24], "little")]
        return any(mark in header for mark in _ASF_ENCRYPTIONS)
    return container.startswith("matroska") and _is_encrypted_matroska(_head(file))


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(_HEAD_BYTES)


def _is_encrypted_matroska(head: bytes) -> bool:
    segments = [body for identity, body in _elements(head) if identity == _SEGMENT]
    tracks = [body for segment in segments for identity, body in _elements(segment) if identity == _TRACKS]
    for entry in (body for each in tracks for identity, body in _elements(each) if identity == _TRACK):
        bodies, is_video = [entry], (_TYPE, _VIDEO) in _elements(entry)
        for step in _TO_ENCRYPTION:
            bodies = [inner for body in bodies for identity, inner in _elements(body) if identity == step]
        if bodies and is_video:
            return True
    return False


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
