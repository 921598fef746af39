"""Which pictures of MPEG-1, MPEG-2 and MPEG-4 part 2 are B-pictures."""

from __future__ import annotations

import re

_MPEG12 = re.compile(rb"\x00\x00\x01\x00.(.)", re.DOTALL), 3, 7, 3
_KINDS = {
    "mpeg1video": _MPEG12,
    "mpeg2video": _MPEG12,
    "mpeg4": (re.compile(rb"\x00\x00\x01\xb6(.)", re.DOTALL), 6, 3, 2),
}
"""By FFmpeg's name of the codec: the start of a picture up to the byte with its kind, how far that is shifted there,
its bits, and that of B-pictures."""


def is_b_picture(codec: str, data: bytes) -> bool:
    """Whether the first picture of a packet is one; False, too, for other codecs."""
    if codec not in _KINDS:
        return False
    start, shift, bits, b_picture = _KINDS[codec]
    found = start.search(data)
    return found is not None and found[1][0] >> shift & bits == b_picture
