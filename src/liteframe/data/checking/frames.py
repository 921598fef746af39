"""Decodes a video, or places of a long one, in order, and compares frames that are sought with those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liteframe.data.checking.places import Odd, places, read_place
from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.decode import NEXT, read_frames
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.reader import Converter, TableMismatch, read_sparse
from liteframe.data.decoding.pyav.scan import Scan
from liteframe.errors import DecodeError

_GRID = 32
_AT_A_TIME = 4
"""Sought frames that are in memory."""
_MOST_BY_DECORD = 64


@dataclass
class Decoded:
    """What came of decoding a video.

    Attributes:
        frames: that it has.
        verified: how many of them were decoded.
        remarks: what is odd, though all can be read.
    """

    frames: int
    verified: int
    remarks: list[str] = field(default_factory=list)


def decode_and_compare(scan: Scan, verify_frames: int, full: bool) -> Decoded:
    """Decodes a short video, or with `full` any, whole in order; of a long one the places of `check_places`.

    At `verify_frames` random positions in there, the frame that is sought must be the same. What is odd in places is
    decided by the whole.

    Raises:
        DecodeError: a frame is damaged, or is another when it is sought.
    """
    parts = [] if full else places(scan)
    if parts:
        within = np.concatenate([np.array(run) for _, run in parts])
        positions = _random(within, verify_frames)
        try:
            decoded = _InOrder(scan, positions)
            for begin, run in parts:
                decoded.take(read_place(scan, begin, run))
            _require_same_by_seeking(scan, decoded.samples)
            return Decoded(scan.frames, decoded.count, decoded.remarks)
        except (Odd, TableMismatch, DecodeError):
            return _decode_whole(scan, positions)
    return _decode_whole(scan, _random(np.arange(scan.frames), verify_frames))


def _decode_whole(scan: Scan, positions: Sequence[int]) -> Decoded:
    decoded = _InOrder(scan, positions)
    decoded.take(enumerate(frames_in_order(scan.path)))
    if decoded.count and not decoded.other_times:
        _require_same_by_seeking(scan, decoded.samples)
    if decoded.count != scan.frames:
        decoded.remarks.append(f"the container announces {scan.frames} frames, {decoded.count} can be decoded")
    return Decoded(decoded.count, decoded.count, decoded.remarks)


class _InOrder:
    """Frames that are decoded in order: counted, and a sample kept of those at some positions.

    Attributes:
        samples: a grid of pixels of the frame at each of the positions.
        count: of frames.
        other_times: they are not those at the times that the packets tell.
        remarks: what is odd about them.
    """

    def __init__(self, scan: Scan, positions: Sequence[int]) -> None:
        self.samples: dict[int, np.ndarray] = {}
        self.count, self.remarks = 0, list[str]()
        self._scan, self._kept, self._convert = scan, set(positions), Converter(scan)
        self._differ, self._size = False, (0, 0)

    @property
    def other_times(self) -> bool:
        return self._differ or (self._scan.pts_T is not None and self.count != self._scan.frames)

    def take(self, frames: Iterator[tuple[int, Any]]) -> None:
        """Takes frames with their positions."""
        pts_T = self._scan.pts_T
        for position, frame in frames:
            self.count += 1
            if pts_T is not None and (position >= len(pts_T) or frame.pts != pts_T[position]):
                self._differ = True
            self._look_at_size(frame.width, frame.height)
            if position in self._kept:
                self.samples[position] = _sample(self._convert(frame))

    def _look_at_size(self, width: int, height: int) -> None:
        before = self._size
        if before != (width, height) and before != (0, 0) and not self.remarks:
            change = f"its frame size changes from {before[0]}x{before[1]} to {width}x{height} on the way"
            self.remarks.append(f"{change}; frames are scaled to the first")
        self._size = width, height


def _random(positions_N: np.ndarray, count: int) -> list[int]:
    random = np.random.default_rng(len(positions_N))
    return sorted(random.choice(positions_N, min(count, len(positions_N)), replace=False).tolist())


def _sample(frame_HWC: np.ndarray) -> np.ndarray:
    """A grid of pixels, enough to tell frames apart: (N,) uint8."""
    height, width = frame_HWC.shape[:2]
    rows, columns = np.linspace(0, height - 1, _GRID).astype(int), np.linspace(0, width - 1, _GRID).astype(int)
    return frame_HWC[np.ix_(rows, columns)].reshape(-1)


def _require_same_by_seeking(scan: Scan, samples: dict[int, np.ndarray]) -> None:
    """Raises DecodeError where a frame is another than its sample when it is sought."""
    positions = sorted(samples)
    for start in range(0, len(positions), _AT_A_TIME):
        part = positions[start : start + _AT_A_TIME]
        for index, frame_HWC in zip(part, read_sparse(scan, part), strict=True):
            if not np.array_equal(_sample(frame_HWC), samples[index]):
                raise DecodeError(scan.path, f"shows another frame {index} when it is sought: write the file anew")


def compare_by_decord(scan: Scan, verify_frames: int) -> Decoded:
    """As `decode_and_compare`, by the decoder that is asked after PyAV has crashed or hung, at random positions only.

    Raises:
        DecodeError: that decoder is not known to be right on such files, or reads other frames when it seeks.
    """
    positions = _random(np.arange(scan.frames), min(max(verify_frames, 1), _MOST_BY_DECORD))
    size = min(_GRID, scan.height), min(_GRID, scan.width)
    sought = read_frames(scan.path, positions, NEXT, size=size)
    resize = FrameResize((scan.height, scan.width), size)
    if not np.array_equal(sought, decord_reader.read(scan.path, positions, scan.frames, resize, True)):
        raise DecodeError(scan.path, "shows other frames when they are sought: write the file anew")
    return Decoded(scan.frames, len(positions), ["PyAV crashed or hung on it"])
