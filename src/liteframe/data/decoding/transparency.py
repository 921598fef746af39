"""Transparent pictures as they are seen on a white page, which is where a browser shows them.

Below transparent pixels lies whatever their writer left there. Decoders give it, and it is never seen.
"""

from __future__ import annotations

from functools import cache

import numpy as np

WHITE = 255
_RGB_IN_32_BITS = "bgra"
_WITHOUT_ALPHA = frozenset({"huffyuv", "wcmv"})
"""Codecs whose RGB in 32 bits comes from bitmaps of Windows, in which the fourth byte means nothing."""


@cache
def may_be_transparent(pixel_format: str, codec: str, container: str) -> bool:
    """Whether decoded frames may have transparent pixels.

    They may where the pixel format has an alpha channel or a palette, except RGB in 32 bits that is uncompressed in AVI
    or in a codec for it: its fourth byte is unused (BI_RGB), mostly 0, and FFmpeg takes it for alpha.

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
