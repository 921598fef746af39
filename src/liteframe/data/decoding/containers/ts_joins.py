"""Whether two transport streams were joined end to end at a given place, as segments of a download are.

Each stream begins with its program association table and counts its packets from the start (ISO/IEC 13818-1, 2.4.3.3).
Lost packets leave a gap in the counts, but do not restart them.
"""

from __future__ import annotations

import os
from typing import BinaryIO

HEAD_BYTES = 5 * 204
"""What `layout_of` needs of the start of a file."""
_LAYOUTS = ((188, 0), (192, 4), (204, 0))
"""Bytes from one packet to the next, and before the first packet."""
_SYNC, _PROGRAMS, _COUNTS = 0x47, 0, 16
_FIRST_COUNTS = (0, 1)
_MOST_BYTES = 64 << 20


def layout_of(head: bytes) -> tuple[int, int] | None:
    """Bytes from one packet to the next and before the first packet; None where `head` is of no transport stream."""
    for step, first in _LAYOUTS:
        places = range(first, len(head), step)
        if len(places) > 1 and all(head[place] == _SYNC for place in places):
            return step, first
    return None


def is_join(file: BinaryIO, start: int, stop: int, stream_id: int) -> bool:
    """Whether another transport stream begins between two video packets.

    Args:
        file: the whole file.
        start: offset in bytes of the first packet by FFmpeg, which subtracts what the layout adds to its 188 bytes.
        stop: offset of the second, likewise.
        stream_id: the packet identifier (PID) of the video.
    """
    if not 0 <= start < stop or stop - start > _MOST_BYTES:
        return False
    file.seek(0)
    layout = layout_of(file.read(HEAD_BYTES))
    if layout is None:
        return False
    step, first = layout
    start += (first - start) % step
    file.seek(start)
    data = file.read(min(stop + step, os.fstat(file.fileno()).st_size) - start)
    last = table = None
    for place in range(0, len(data) - 3, step):
        if data[place] != _SYNC:
            return False
        number, count = (data[place + 1] & 0x1F) << 8 | data[place + 2], data[place + 3] & 0x0F
        if not data[place + 3] & 0x10:  # has no payload, so is not counted
            continue
        if number == _PROGRAMS:
            table = count
        elif number == stream_id:
            if last is not None and count not in (last, (last + 1) % _COUNTS):
                return table == count and count in _FIRST_COUNTS
            last, table = count, None
    return False
