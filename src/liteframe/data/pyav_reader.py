"""Reads frames with PyAV, in order or by seeking.

A frame's index is its rank by presentation time among the frames that a player shows. Sparse reads seek to the key
frame before and identify every frame by its presentation time; where anything looks odd, the file is read in order from
its start instead, which decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from liteframe.data.pyav_open import open_video
from liteframe.data.pyav_scan import Scan, frames_in_order
from liteframe.errors import DecodeError


class TableMismatch(Exception):
    """The frames that a decoder gives are not those the container announces: count them by decoding."""


class _SeekMiss(Exception):
    """A seek did not lead to the wanted frame."""


class Converter:
    """PyAV frames to upright RGB arrays (H, W, 3) uint8."""

    def __init__(self, scan: Scan) -> None:
        from av.video.reformatter import VideoReformatter

        self._scan, self._reformatter = scan, VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        # Decode processes run side by side, and for a small frame starting threads costs ten times the conversion.
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        upright = np.rot90(rgb, self._scan.rotation // 90) if self._scan.rotation else rgb
        if upright.shape[:2] != (self._scan.height, self._scan.width):
            before, now = f"{self._scan.width}x{self._scan.height}", f"{upright.shape[1]}x{upright.shape[0]}"
            raise DecodeError(self._scan.path, f"its frame size changes from {before} to {now} on the way")
        return upright


def read_sparse(scan: Scan, indices: Sequence[int]) -> np.ndarray:
    """Frames at strictly increasing `indices`, (T, H, W, 3) uint8, by seeking where that is safe.

    Raises:
        DecodeError: a frame on the way is damaged.
        TableMismatch: the file shows other frames than its packets say.
    """
    if scan.pts_T is not None and not scan.by_decoding:
        try:
            return _seek_and_read(scan, scan.pts_T[np.asarray(indices, np.int64)])
        except _SeekMiss:
            return read_in_order(scan, indices)  # the authority on files that cannot be sought
    return read_in_order(scan, indices)


def read_in_order(scan: Scan, indices: Sequence[int]) -> np.ndarray:
    """As `read_sparse`, decoding every frame from the start up to the last one asked for."""
    convert, slot = Converter(scan), 0
    out_THWC = np.empty((len(indices), scan.height, scan.width, 3), np.uint8)
    for index, frame in enumerate(frames_in_order(scan.path)):
        if scan.pts_T is not None and (index >= scan.frames or frame.pts != scan.pts_T[index]):
            raise TableMismatch
        if index == indices[slot]:
            out_THWC[slot] = convert(frame)
            slot += 1
            if slot == len(indices):
                return out_THWC
    raise TableMismatch


def _seek_and_read(scan: Scan, wanted_T: np.ndarray) -> np.ndarray:
    import av

    convert = Converter(scan)
    out_THWC = np.empty((len(wanted_T), scan.height, scan.width, 3), np.uint8)
    segment_T = np.maximum(np.searchsorted(scan.key_pts_K, wanted_T, side="right") - 1, 0)
    with open_video(scan.path) as (container, stream):
        frames, here = container.decode(stream), 0
        try:
            for slot, (pts, segment) in enumerate(zip(wanted_T, segment_T, strict=True)):
                if segment > here:
                    frames, here = _land(container, stream, scan.key_pts_K, int(segment)), int(segment)
                frame = next((frame for frame in frames if _passes(frame, pts)), None)
                if frame is None:
                    raise _SeekMiss
                out_THWC[slot] = convert(frame)
        except av.error.FFmpegError as error:
            raise _SeekMiss from error
    return out_THWC


def _passes(frame: Any, pts: int) -> bool:
    if frame.is_corrupt or frame.pts is None or frame.pts > pts:
        raise _SeekMiss
    return bool(frame.pts == pts)


def _land(container: Any, stream: Any, key_pts_K: np.ndarray, segment: int) -> Iterator[Any]:
    """Decoded frames from the key frame of `segment` or earlier: demuxers that seek by decoding time land late."""
    for back in (0, 1, 2, 4):
        key = int(key_pts_K[max(segment - back, 0)])
        container.seek(key, stream=stream, backward=True, any_frame=False)
        frames = container.decode(stream)
        first = next(frames, None)
        if first is not None and first.pts is not None and first.pts <= key_pts_K[segment]:
            return _chain(first, frames)
    raise _SeekMiss


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
