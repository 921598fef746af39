"""Whether a transport stream is two that were joined end to end at a place, as segments of a download are.

Each stream begins with the table of its programs, and counts its packets from the start (ISO/IEC 13818-1, 2.4.3.3).
Where packets are lost the counts have a gap, too, but do not begin anew.
"""

from __future__ import annotations

import os
from typing import BinaryIO

HEAD_BYTES = 5 * 204
"""In which `layout_of` looks for packets."""
_LAYOUTS = ((188, 0), (192, 4), (204, 0))
"""Bytes from one packet to the next, and before the first."""
_SYNC, _PROGRAMS, _COUNTS = 0x47, 0, 16
_FIRST_COUNTS = (0, 1)
_MOST_BYTES = 64 << 20


def layout_of(head: bytes) -> tuple[int, int] | None:
    """Bytes from one packet to the next, and those before the first; None where `head` begins no transport stream."""
    for step, first in _LAYOUTS:
        places = range(first, len(head), step)
        if len(places) > 1 and all(head[place] == _SYNC for place in places):
            return step, first
    return None


def is_join(file: BinaryIO, start: int, stop: int, stream_id: int) -> bool:
    """Whether another transport stream begins between two packets of pictures.

    Args:
        file: the whole file.
        start: where the one begins, in bytes, or as FFmpeg has it before that by what its layout adds to a packet.
        stop: where the other begins, likewise.
        stream_id: the number of the packets that hold the pictures (PID).
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
        if not data[place + 3] & 0x10:  # without anything in it, and not counted
            continue
        if number == _PROGRAMS:
            table = count
        elif number == stream_id:
            if last is not None and count not in (last, (last + 1) % _COUNTS):
                return table == count and count in _FIRST_COUNTS
            last, table = count, None
    return False
