"""How decoded pictures are turned and mirrored to be upright: FFmpeg's display matrix, from the file or its stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_ANGLES = {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}
_SLACK = 0.01
"""Sine of the angle that still counts as a right one."""


@dataclass(frozen=True)
class Orientation:
    """What makes decoded pictures upright: first mirroring, then turning.

    Attributes:
        rotation: degrees counter-clockwise (0, 90, 180, 270).
        mirrored: left and right are exchanged before that.
        doubt: why the file's wish is not followed; empty where it is.
    """

    rotation: int = 0
    mirrored: bool = False
    doubt: str = ""


def orientation_of(frame: Any) -> Orientation:
    """The orientation that a frame of PyAV carries, from the file or its stream."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data of its FFmpeg, such as EXIF
        return Orientation(round(frame.rotation / 90) % 4 * 90)
    return Orientation() if matrix is None else from_matrix(np.frombuffer(bytes(matrix), np.int32))


def from_matrix(matrix_9: np.ndarray) -> Orientation:
    """The orientation of a display matrix of 9 numbers: x' = a x + c y and y' = b x + d y for a b _ c d _ ..."""
    a, b, c, d = (float(matrix_9[place]) for place in (0, 1, 3, 4))
    across, down = math.hypot(a, b), math.hypot(c, d)
    if min(across, down) == 0:
        return Orientation(doubt="its display matrix squeezes pictures to nothing")
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    # both axes, each by its own length, as the matrix may scale them too
    cosine, sine = (a / across, b / across)
    skew = abs(a * c + b * d) / (across * down)
    if min(abs(cosine), abs(sine)) > _SLACK or skew > _SLACK:
        return Orientation(doubt=f"it asks to be turned by {math.degrees(math.atan2(-b, a)):.4g} degrees")
    return Orientation(_ANGLES[round(cosine), round(sine)], mirrored)


def upright(picture_HWC: np.ndarray, orientation: Orientation) -> np.ndarray:
    """A decoded picture mirrored and turned as its file wants it."""
    if orientation.mirrored:
        picture_HWC = picture_HWC[:, ::-1]
    return np.rot90(picture_HWC, orientation.rotation // 90) if orientation.rotation else picture_HWC
