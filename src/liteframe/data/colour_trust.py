"""For which files other decoders give the colours that PyAV gives."""

from __future__ import annotations

from liteframe.data.pyav_scan import Scan

_SAME = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
"""Of these all versions of FFmpeg make RGB by one and the same way; of those of more bits, they do not."""


def colour_doubt(scan: Scan, decoder: str) -> str:
    """Why `decoder`, which has an FFmpeg of its own, may give other colours; empty where it does not."""
    if scan.pixel_format not in _SAME:
        return f"{decoder} gives other colours of {scan.pixel_format}"
    if scan.width % 2 or scan.height % 2:
        return f"{decoder} gives other colours of frames whose sides are odd ({scan.width}x{scan.height})"
    return ""
