"""What a video file holds: its frames and their times, from its packets, or from decoding where packets do not tell."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from liteframe.data.containers import is_unmistakable
from liteframe.data.pyav_open import MOST_PIXELS, error_text, file_head, open_video
from liteframe.errors import DecodeError

MOST_PACKETS = 10_000_000
"""Packets that a stream may have: two days at 60 frames a second."""

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
        container: FFmpeg's name of the format.
        unmistakable: the file begins as others of its format do, so that no FFmpeg takes it for another.
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
    container: str
    unmistakable: bool

    def times(self) -> np.ndarray:
        """Start of each frame in seconds after the first one, (frames,) float64."""
        if self.pts_T is None:
            return np.arange(self.frames) / self.fps
        return (self.pts_T - self.pts_T[0]) * self.time_base


def scan(path: str, by_decoding: bool = False) -> Scan:
    """What `path` holds, from its packets and first frame; with `by_decoding` from decoding every frame.

    Raises:
        DecodeError: the file cannot be read, is cut short, or its first frame cannot be decoded.
    """
    with open_video(path) as (container, stream):
        table, first = _packets(path, container, stream)
        rate = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        codec = stream.codec_context.codec.canonical_name
        time_base, container_name = float(stream.time_base), container.format.name
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
        container=container_name,
        unmistakable=is_unmistakable(container_name, file_head(path)),
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
    times, keys = array("q"), bytearray()
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
            if count > MOST_PACKETS:
                raise DecodeError(path, f"has more than {MOST_PACKETS} packets of video: cut it into parts")
            fresh = fresh and (not packet.is_keyframe or starts_afresh(packet))
            if packet.is_corrupt:
                raise DecodeError(path, f"packet {count - 1} is damaged or cut short")
            if packet.is_discard:
                discarded += 1
            elif packet.pts is None:
                told = False
            elif not (hidden_possible and not bytes(packet)[0] >> 4 & 1):
                times.append(packet.pts)
                keys.append(packet.is_keyframe)
    except av.error.FFmpegError as error:
        raise DecodeError(path, f"the container is damaged after packet {count}: {error_text(error)}") from error
    if count == 0:
        raise DecodeError(path, "its video stream is empty, or lies in another file: write it anew as one file")
    if first is None:
        raise DecodeError(path, "has no frame that can be decoded")
    if not told or not times or (discarded == 0 and not keys[0]):
        return None, first
    pts_P, key_P = np.array(times, np.int64), np.frombuffer(keys, bool)
    pts_T = np.sort(pts_P)
    if len(pts_T) > 1 and np.diff(pts_T).min() == 0:
        return None, first
    before_P = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(pts_P)[:-1]])
    from_here_P = np.minimum.accumulate(pts_P[::-1])[::-1]
    closed = bool(((before_P < pts_P) & (from_here_P == pts_P))[key_P].all())
    return (pts_T, np.sort(pts_P[key_P]), count - len(times), not (closed and fresh)), first


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
        why = error_text(error)
        if isinstance(error, av.error.ArgumentError):  # what decoders say of sizes that they are not allowed
            why = f"it is damaged, or has more than {MOST_PIXELS // 1_000_000} million pixels"
        raise DecodeError(path, f"its first frame cannot be decoded: {why}") from error


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
            raise DecodeError(path, f"the stream is damaged near frame {index}: {error_text(error)}") from error
