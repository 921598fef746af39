"""For which files a decoder with an FFmpeg of its own gives the pictures that PyAV gives."""

from __future__ import annotations

from liteframe.data.decoding.pyav.scan import Scan

_SAME = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
"""Of these all versions of FFmpeg make RGB by one and the same way; of those of more bits, they do not."""


def picture_doubt(scan: Scan, decoder: str) -> str:
    """Why `decoder` may give other streams, orientations or colours, or nothing at all; empty where it does not."""
    if not scan.unmistakable:
        return f"{decoder} is given no {scan.container} files that begin like this one"
    if scan.cut_short:
        return f"{decoder} is not given files that are cut short"
    if scan.streams > 1:
        return f"{decoder} may read another of its {scan.streams} video streams"
    if scan.orientation.mirrored or scan.orientation_in_stream:
        return f"{decoder} does not heed how its pictures are to be turned"
    if scan.pixel_format not in _SAME:
        return f"{decoder} gives other colours of {scan.pixel_format}"
    if scan.width % 2 or scan.height % 2:
        return f"{decoder} gives other colours of frames whose sides are odd ({scan.width}x{scan.height})"
    return ""
