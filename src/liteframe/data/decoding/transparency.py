"""Puts transparent pictures on a white ground, as a browser shows them on a page.

Decoders also give the colours of fully transparent pixels: whatever the writer left there, which is never meant to be
seen.
"""

from __future__ import annotations

from functools import cache

import numpy as np

WHITE = 255
_RGB_IN_32_BITS = "bgra"
_WITHOUT_ALPHA = frozenset({"huffyuv", "wcmv"})
"""Codecs whose 32-bit RGB comes from Windows bitmaps, where the fourth byte has no meaning."""


@cache
def may_be_transparent(pixel_format: str, codec: str, container: str) -> bool:
    """Whether decoded frames may have transparent pixels.

    They may where the pixel format has an alpha channel or a palette. An exception is 32-bit RGB that is uncompressed
    in AVI or comes from a codec of Windows bitmaps: FFmpeg takes its fourth byte for alpha, but it is unused (BI_RGB)
    and mostly 0.

    Args:
        pixel_format: FFmpeg's name of the format of the pixels.
        codec: FFmpeg's name of the codec.
        container: FFmpeg's name of the container.
    """
    from av import VideoFormat

    if pixel_format == _RGB_IN_32_BITS and (codec in _WITHOUT_ALPHA or (codec, container) == ("rawvideo", "avi")):
        return False
    pixels = VideoFormat(pixel_format)
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def over_white(pixels_HWC: np.ndarray) -> np.ndarray:
    """RGBA pixels uint8, not premultiplied, as RGB (height, width, 3) uint8 on a white ground."""
    colours_HWC, alpha_HW1 = pixels_HWC[..., :3], pixels_HWC[..., 3:].astype(np.uint32)
    if alpha_HW1.min(initial=WHITE) == WHITE:
        return np.ascontiguousarray(colours_HWC)
    mixed = colours_HWC * alpha_HW1 + WHITE * (WHITE - alpha_HW1)
    return ((mixed + WHITE // 2) // WHITE).astype(np.uint8)
