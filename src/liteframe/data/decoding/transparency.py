"""Transparent pictures as they are seen on a white page, which is where a browser shows them.

Below transparent pixels lies whatever their writer left there. Decoders give it, and it is never seen.
"""

from __future__ import annotations

from functools import cache

import numpy as np

WHITE = 255


@cache
def may_be_transparent(pixel_format: str) -> bool:
    """Whether FFmpeg's pixel format has an alpha channel, or a palette whose colours may have one."""
    from av import VideoFormat

    pixels = VideoFormat(pixel_format)
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def over_white(pixels_HWC: np.ndarray) -> np.ndarray:
    """RGBA pixels uint8, not premultiplied, as RGB (height, width, 3) uint8 on a white ground."""
    colours_HWC, alpha_HW1 = pixels_HWC[..., :3], pixels_HWC[..., 3:].astype(np.uint32)
    if alpha_HW1.min(initial=WHITE) == WHITE:
        return np.ascontiguousarray(colours_HWC)
    mixed = colours_HWC * alpha_HW1 + WHITE * (WHITE - alpha_HW1)
    return ((mixed + WHITE // 2) // WHITE).astype(np.uint8)


def is_unset(alpha_HW: np.ndarray, pixel_format: str) -> bool:
    """Whether alpha says nothing: writers of RGB in 32 bits (AVI) leave its byte at 0 in all pixels."""
    return pixel_format == "bgra" and not alpha_HW.any()
