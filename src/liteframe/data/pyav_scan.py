"""What a video file holds: its frames and their times, from its packets, or from decoding where packets do not tell."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from liteframe.data.video_file import fault_of
from liteframe.errors import DecodeError

# others give packets times in the order of decoding, or none: AVI, raw streams, MPEG program streams
_CONTAINERS_WITH_TIMES = {"mov", "mp4", "matroska", "webm", "mpegts", "flv", "ivf"}


@dataclass(frozen=True)
class Scan:
    """What a file holds.

    Attributes:
        frames: distinct frames that a player shows.
        pts_T: their presentation times in units of `time_base` seconds, ascending; None where the file has none to use.
        key_pts_K: presentation times of the key frames, ascending.
        by_decoding: the frames were counted by decoding them all, so only reading in order is safe.
        hidden: packets that hold no frame to be shown.
        open_groups: decoding cannot start afresh at each key frame, or the packets do not tell.
    """

    path: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    fps: float
    frames: int
    duration: float
    time_base: float
    pts_T: np.ndarray | None
    key_pts_K: np.ndarray
    by_decoding: bool
    hidden: int
    open_groups: bool

    def times(self) -> np.ndarray:
        """Start of each frame in seconds after the first one, (frames,) float64."""
        if self.pts_T is None:
            return np.arange(self.frames) / self.fps
        return (self.pts_T - self.pts_T[0]) * self.time_base


@contextmanager
def open_video(path: str) -> Iterator[tuple[Any, Any]]:
    """The open container and its best video stream (the largest, as ffmpeg and decord choose).

    Raises:
        DecodeError: the file is missing, empty, no video container, or has no video stream.
    """
    import av

    fault = fault_of(path)
    if fault:
        raise DecodeError(path, fault)
    if os.path.getsize(path) == 0:
        raise DecodeError(path, "the file is empty (0 bytes)")
    try:
        container = av.open(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise DecodeError(path, f"cannot be opened: {_text(error)}") from error
    with container:
        stream = container.streams.best("video")
        if stream is None or _is_cover_picture(stream):
            raise DecodeError(path, "has no video stream")
        if stream.codec_context is None:
            raise DecodeError(path, "its video codec is not known to this FFmpeg")
        stream.codec_context.thread_type = (
            "NONE"  # the pool has a process for each core; threads would only delay the first frame
        )
        yield container, stream


def _is_cover_picture(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _text(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def scan(path: str, by_decoding: bool = False) -> Scan:
    """What `path` holds, from its packets and first frame; with `by_decoding` from decoding every frame.

    Raises:
        DecodeError: the file cannot be read, is cut short, or its first frame cannot be decoded.
    """
    with open_video(path) as (container, stream):
        table, first = _packets(path, container, stream)
        rate = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        codec = stream.codec_context.codec.canonical_name
        time_base = float(stream.time_base)
    counted = by_decoding or table is None
    pts_T: np.ndarray | None
    if counted or table is None:
        pts_T, frames = _decode_all(path)
        hidden, open_groups = 0, True
        key_pts_K = np.empty(0, np.int64)
    else:
        pts_T, key_pts_K, hidden, open_groups = table
        frames = len(pts_T)
    if frames == 0:
        raise DecodeError(path, "has no frame that can be decoded")
    span = float(pts_T[-1] - pts_T[0]) * time_base if pts_T is not None else 0.0
    fps = rate if rate > 0 else ((frames - 1) / span if span > 0 else 25.0)
    step = float(np.median(np.diff(pts_T))) * time_base if pts_T is not None and frames > 1 else 1 / fps
    duration = span + step if pts_T is not None else frames / fps
    turned = first.rotation % 180 != 0
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    return Scan(
        path=path,
        codec=codec,
        pixel_format=first.format.name,
        width=width,
        height=height,
        rotation=first.rotation % 360,
        fps=fps,
        frames=frames,
        duration=duration,
        time_base=time_base,
        pts_T=pts_T,
        key_pts_K=key_pts_K,
        by_decoding=counted,
        hidden=hidden,
        open_groups=open_groups,
    )


_Table = tuple[np.ndarray, np.ndarray, int, bool]


def _packets(path: str, container: Any, stream: Any) -> tuple[_Table | None, Any]:
    """A table and the first frame that the decoder gives.

    The table is (sorted times of the shown frames, those of the key frames, number of hidden packets, whether there are
    open groups of pictures), or None where packets do not tell.
    """
    import av

    if "mov" in container.format.name:
        size = os.path.getsize(path)
        missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)
        if missing:
            total = len(stream.index_entries)
            raise DecodeError(path, f"is cut short: {missing} of {total} frames lie beyond the end of the file")
    # alternate reference frames of VP8 come as packets of their own
    hidden_possible = stream.codec_context.codec.canonical_name == "vp8"
    rows: list[tuple[int, bool]] = []
    told, discarded, count, fresh = _has_times(container, stream), 0, 0, True
    starts_afresh = _idr_finder(stream)
    first = None
    try:
        for packet in container.demux(stream):
            if first is None:
                first = _decoded(path, packet)
            if packet.size == 0:
                continue
            count += 1
            fresh = fresh and (not packet.is_keyframe or starts_afresh(packet))
            if packet.is_corrupt:
                raise DecodeError(path, f"packet {count - 1} is damaged or cut short")
            if packet.is_discard:
                discarded += 1
            elif packet.pts is None:
                told = False
            elif not (hidden_possible and not bytes(packet)[0] >> 4 & 1):
                rows.append((packet.pts, packet.is_keyframe))
    except av.error.FFmpegError as error:
        raise DecodeError(path, f"the container is damaged after packet {count}: {_text(error)}") from error
    if count == 0:
        raise DecodeError(path, "its video stream is empty")
    if first is None:
        raise DecodeError(path, "has no frame that can be decoded")
    if not told or not rows or (discarded == 0 and not rows[0][1]):
        return None, first
    pts_P = np.array([row[0] for row in rows], np.int64)
    key_P = np.array([row[1] for row in rows], bool)
    pts_T = np.sort(pts_P)
    if len(pts_T) > 1 and np.diff(pts_T).min() == 0:
        return None, first
    before_P = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(pts_P)[:-1]])
    from_here_P = np.minimum.accumulate(pts_P[::-1])[::-1]
    closed = bool(((before_P < pts_P) & (from_here_P == pts_P))[key_P].all())
    return (pts_T, np.sort(pts_P[key_P]), count - len(rows), not (closed and fresh)), first


def _has_times(container: Any, stream: Any) -> bool:
    """Whether packets carry times of presentation."""
    names = set(container.format.name.split(","))
    # Matroska may wrap a stream of AVI, whose times are those of decoding: then it has a four-letter code
    wrapped = "matroska" in names and stream.codec_context.codec_tag.strip("\0") != ""
    return bool(names & _CONTAINERS_WITH_TIMES) and not wrapped


def _idr_finder(stream: Any) -> Callable[[Any], bool]:
    """A test of key packets: can decoding start afresh there? In H.264 at IDR pictures only; elsewhere times tell."""
    if stream.codec_context.codec.canonical_name != "h264":
        return lambda packet: True
    extradata = stream.codec_context.extradata or b""
    prefixed = len(extradata) > 4 and extradata[0] == 1
    return lambda packet: _has_idr(memoryview(packet), (extradata[4] & 3) + 1 if prefixed else 0)


def _has_idr(data: memoryview, length_bytes: int) -> bool:
    """Whether H.264 data, of units with a length in front or (0) with start codes between, holds an IDR picture."""
    if not length_bytes:
        return any(code[3] & 31 == 5 for code in re.findall(rb"\x00\x00\x01.", data, re.DOTALL))
    position = 0
    while position + length_bytes < len(data):
        size = int.from_bytes(data[position : position + length_bytes], "big")
        if data[position + length_bytes] & 31 == 5:
            return True
        position += length_bytes + size
    return False


def _decoded(path: str, packet: Any) -> Any:
    import av

    try:
        return next(iter(packet.decode()), None)
    except av.error.FFmpegError as error:
        raise DecodeError(path, f"its first frame cannot be decoded: {_text(error)}") from error


def _decode_all(path: str) -> tuple[np.ndarray | None, int]:
    times = [frame.pts for frame in frames_in_order(path)]
    usable = all(time is not None for time in times) and all(a < b for a, b in pairwise(times))
    return (np.array(times, np.int64) if usable else None), len(times)


def frames_in_order(path: str) -> Iterator[Any]:
    """All frames of the best stream as PyAV frames, in order of presentation.

    Raises:
        DecodeError: a frame cannot be decoded, or was patched up by the decoder's error concealment.
    """
    import av

    with open_video(path) as (container, stream):
        index = 0
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise DecodeError(path, f"frame {index} is damaged (the decoder could only conceal it)")
                yield frame
                index += 1
        except av.error.FFmpegError as error:
            raise DecodeError(path, f"the stream is damaged near frame {index}: {_text(error)}") from error
