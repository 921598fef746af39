"""Where Matroska and WebM files end by the lengths of their elements."""

from __future__ import annotations

from typing import BinaryIO

from liteframe.data.decoding import heartbeat

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MOST_ELEMENTS = 1_000_000
"""Of a recording: blocks of four hours of picture and sound. Of a longer one the end is not looked at."""
_HEAD_BYTES = 16
_FULL_HEAD_BYTES = 12
_AHEAD_BYTES = 1 << 20
_PARTS = frozenset(
    (
        *(0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
        *(0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0xAF, 0x5854),
    )
)
"""Elements of segments and of clusters."""
_CUT = "its last block is not whole"


def missing_of_matroska(file: BinaryIO, size: int) -> str:
    """What a file of `size` bytes lacks at its end, in words; empty where nothing is known to be missing.

    Raises:
        IndexError: it is not built like one.
    """
    position = 0
    for _ in range(8):  # a void or two may come before the segment
        head = _read(file, position, _HEAD_BYTES)
        identity, after = ebml_number(head, 0, keep_marker=True)
        length, body = ebml_number(head, after, keep_marker=False)
        if identity == _SEGMENT:
            if length is None:
                return _missing_of_recording(file, position + body, size)
            end = position + body + length
            return f"{end - size} of its {end} bytes are missing" if end > size else ""
        if length is None or identity is None:
            return ""
        position += body + length
    return ""


def _missing_of_recording(file: BinaryIO, position: int, size: int) -> str:
    """As `missing_of_matroska` of a segment of no known length, from the start of its body on.

    What is no element of such a file, or goes on behind where one should end, is damage: the demuxer sees that.
    """
    for _ in range(_MOST_ELEMENTS):
        if position >= size:
            return ""
        heartbeat.step()
        head = _read(file, position, _HEAD_BYTES)
        try:
            identity, after = ebml_number(head, 0, keep_marker=True)
            length, body = ebml_number(head, after, keep_marker=False)
        except IndexError:
            return _CUT if head[0] and len(head) < _FULL_HEAD_BYTES else ""
        if identity not in _PARTS:
            return ""
        end = position + body + (length or 0)
        if identity == _CLUSTER and (length is None or end > size):
            position += body  # its elements follow
        elif length is None:
            return ""
        elif end > size:
            ahead = _read(file, position + body, _AHEAD_BYTES)
            return "" if _CLUSTER.to_bytes(4, "big") in ahead else _CUT
        else:
            position = end
    return ""


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def ebml_number(data: bytes, start: int, keep_marker: bool) -> tuple[int | None, int]:
    """A number of EBML and where it ends; None where it says "unknown"."""
    first = data[start]
    length = 9 - first.bit_length() if first else 9
    if length > 8 or start + length > len(data):
        raise IndexError
    value = int.from_bytes(data[start : start + length], "big")
    if keep_marker:
        return value, start + length
    most = (1 << 7 * length) - 1
    value &= most
    return (None if value == most else value), start + length
