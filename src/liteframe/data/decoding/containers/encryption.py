"""Whether the pictures of a file are encrypted, as its container says."""

from __future__ import annotations

from typing import BinaryIO

from liteframe.data.decoding.containers.matroska_tracks import bodies_of, video_tracks
from liteframe.data.decoding.containers.mp4_entries import has_encrypted_samples

_ASF_ENCRYPTIONS = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_TO_ENCRYPTION = (0x6D80, 0x6240, 0x5035)
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
    return container.startswith("matroska") and _is_encrypted_matroska(file)


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(_HEAD_BYTES)


def _is_encrypted_matroska(file: BinaryIO) -> bool:
    for entry in video_tracks(file):
        bodies = [entry]
        for step in _TO_ENCRYPTION:
            bodies = [inner for body in bodies for inner in bodies_of(body, step)]
        if bodies:
            return True
    return False
