"""Squashes single frames to the model's size in processes without torch, equal to torch's resize to the bit.

torch scales uint8 pixels in two passes, along rows and then along columns. Each is a weighted sum in whole numbers: the
weights of the antialiased bicubic filter times the largest power of two that leaves them in 16 bits, rounded; the sum
is rounded to uint8 after each pass. Here those sums are products of matrices, a strip of the result at a time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_CUBIC = -0.5
_REACH = 2.0
"""Of the bicubic filter, in pixels of the result (of the source where that is the smaller)."""
_WEIGHT_BITS, _MOST_BITS = 15, 22
_STRIP_COLUMNS = 16
_BAND_ROWS = 64
_EXACT_FLOAT32 = 2**24
"""Whole numbers up to here are exact in float32, and so are sums of them in any order."""


class FrameResize:
    """Scales frames of one size to another.

    Args:
        source: (height, width) in pixels.
        size: (height, width) of the result.
    """

    def __init__(self, source: tuple[int, int], size: tuple[int, int]) -> None:
        self.source, self.size = source, size

    def __call__(self, frame_HWC: np.ndarray) -> np.ndarray:
        """A uint8 RGB frame of the source's size, bicubic with antialias, as uint8 (height, width, 3)."""
        height, width = self.size
        if self.source[1] != width:
            frame_HWC = _along_rows(frame_HWC, _axis(self.source[1], width, 3))
        if self.source[0] != height:
            frame_HWC = _along_columns(frame_HWC, _axis(self.source[0], height, 1))
        return frame_HWC


class _Axis:
    """The weights of one axis, as a matrix for each strip of the result.

    Attributes:
        bits: of the power of two in the weights.
        strips: first and last place in the source, first and last in the result, weights (source, result).
    """

    def __init__(self, source: int, size: int, channels: int) -> None:
        taps = _taps(source, size)
        largest = max(weights.max() for _, weights in taps)
        fitting = (bits for bits in range(_MOST_BITS) if int(0.5 + largest * 2 ** (bits + 1)) >= 2**_WEIGHT_BITS)
        self.bits = next(fitting, _MOST_BITS)
        whole = [(first, np.trunc(weights * 2**self.bits + np.copysign(0.5, weights))) for first, weights in taps]
        most = 255 * max(np.abs(weights).sum() for _, weights in whole) + 2 ** (self.bits - 1)
        self.dtype = np.float32 if most < _EXACT_FLOAT32 else np.float64
        step = _STRIP_COLUMNS // channels
        self.strips = [self._strip(whole[first : first + step], first, channels) for first in range(0, size, step)]

    def _strip(self, taps: list[tuple[int, np.ndarray]], first: int, channels: int) -> tuple[slice, slice, np.ndarray]:
        low = min(begin for begin, _ in taps)
        high = max(begin + len(weights) for begin, weights in taps)
        matrix = np.zeros((high - low, channels, len(taps), channels), self.dtype)
        for place, (begin, weights) in enumerate(taps):
            for channel in range(channels):
                matrix[begin - low : begin - low + len(weights), channel, place, channel] = weights
        stop = first + len(taps)
        return (
            slice(low * channels, high * channels),
            slice(first * channels, stop * channels),
            matrix.reshape((high - low) * channels, len(taps) * channels),
        )

    def round(self, sums: np.ndarray) -> np.ndarray:
        """Sums of weighted pixels as pixels, in place and still floating."""
        sums += 2 ** (self.bits - 1)
        sums *= 2.0**-self.bits
        return np.clip(np.floor(sums, out=sums), 0, 255, out=sums)


@lru_cache(64)
def _axis(source: int, size: int, channels: int) -> _Axis:
    return _Axis(source, size, channels)


def _taps(source: int, size: int) -> list[tuple[int, np.ndarray]]:
    """For each pixel of the result, the first pixel of the source that counts, and the weights from there on."""
    scale = source / size
    stretch = max(scale, 1.0)
    taps = []
    for place in range(size):
        center = scale * (place + 0.5)
        first = max(int(center - _REACH * stretch + 0.5), 0)
        stop = min(int(center + _REACH * stretch + 0.5), source)
        weights = _cubic((np.arange(first, stop) - center + 0.5) / stretch)
        taps.append((first, weights / weights.sum()))
    return taps


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _CUBIC
    return np.where(x < 1, near, np.where(x < _REACH, far, 0.0))


def _along_rows(frame_HWC: np.ndarray, axis: _Axis) -> np.ndarray:
    height, width, channels = frame_HWC.shape
    out = np.empty((height, axis.strips[-1][1].stop), np.uint8)
    for top in range(0, height, _BAND_ROWS):  # of a size that the processor's cache holds
        band = frame_HWC[top : top + _BAND_ROWS].reshape(-1, width * channels).astype(axis.dtype)
        sums = np.empty((len(band), out.shape[1]), axis.dtype)
        for taken, made, weights in axis.strips:
            np.matmul(band[:, taken], weights, out=sums[:, made])
        out[top : top + _BAND_ROWS] = axis.round(sums)
    return out.reshape(height, -1, channels)


def _along_columns(frame_HWC: np.ndarray, axis: _Axis) -> np.ndarray:
    height, width, channels = frame_HWC.shape
    rows = frame_HWC.reshape(height, width * channels).astype(axis.dtype)
    out = np.empty((axis.strips[-1][1].stop, width * channels), np.uint8)
    for taken, made, weights in axis.strips:
        out[made] = axis.round(weights.T @ rows[taken])
    return out.reshape(-1, width, channels)
