"""Transparent pictures as they are seen on a white page, which is where a browser shows them.

Below transparent pixels lies whatever their writer left there. Decoders give it, and it is never seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WHITE = 255


def may_be_transparent(frame: Any) -> bool:
    """Whether a frame of PyAV has an alpha channel, or a palette whose colours may have one."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


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
