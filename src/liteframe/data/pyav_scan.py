"""What a video file holds: its frames and their times, from its packets, or from decoding where packets do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from liteframe.data.containers import is_unmistakable
from liteframe.data.ffmpeg_log import FFmpegLog
from liteframe.data.mp4_boxes import layout_doubt
from liteframe.data.packet_table import PacketTable, read_packets
from liteframe.data.pyav_open import error_text, file_head, open_video
from liteframe.errors import DecodeError

_LAST = 10
"""Frames at the end whose distances tell how long the last one stays: packets do not, as some are decoded early."""


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
        early_keys: a key frame is decoded before the one before it is shown, so that seeks by time of decoding miss.
        layout_doubt: why an MP4 or QuickTime file is not laid out in the plain way; empty where it is, and for others.
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
    early_keys: bool
    layout_doubt: str
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
    with open_video(path) as (container, stream, log):
        with log.listening(decoder=False):
            table, first = read_packets(path, container, stream, log)
        if log.damage:
            raise DecodeError(path, f"is damaged: FFmpeg says {log.damage!r}")
        rate = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)
        codec = stream.codec_context.codec.canonical_name
        time_base, container_name, stream_id = float(stream.time_base), container.format.name, stream.id
    if table is not None and first.pts != table.pts_T[0]:
        table = None  # the file was cut: its first pictures refer to others that are gone, and are not shown
    counted = by_decoding or table is None
    if counted or table is None:
        pts_T, frames = _decode_all(path)
        table = PacketTable(np.empty(0, np.int64), np.empty(0, np.int64), 0, True, True)
    else:
        pts_T, frames = table.pts_T, len(table.pts_T)
    if frames == 0:
        raise DecodeError(path, "has no frame that can be decoded")
    span = float(pts_T[-1] - pts_T[0]) * time_base if pts_T is not None else 0.0
    fps = rate if rate > 0 else ((frames - 1) / span if span > 0 else 25.0)
    step = float(np.median(np.diff(pts_T[-_LAST:]))) * time_base if pts_T is not None and frames > 1 else 1 / fps
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
        key_pts_K=table.key_pts_K,
        by_decoding=counted,
        hidden=table.hidden,
        open_groups=table.open_groups,
        early_keys=table.early_keys,
        layout_doubt=layout_doubt(path, stream_id) if container_name.startswith("mov,") else "",
        container=container_name,
        unmistakable=is_unmistakable(container_name, file_head(path)),
    )


def _decode_all(path: str) -> tuple[np.ndarray | None, int]:
    times = [frame.pts for frame in frames_in_order(path)]
    usable = all(time is not None for time in times) and all(a < b for a, b in pairwise(times))
    return (np.array(times, np.int64) if usable else None), len(times)


def frames_in_order(path: str, count: int | None = None) -> Iterator[Any]:
    """All frames of the best stream, or the first `count`, as PyAV frames, in order of presentation.

    Raises:
        DecodeError: a frame cannot be decoded, or was patched up by the decoder's error concealment. Of the frames
            behind the first `count`, those that the decoder needed before the last of them count, too.
    """
    import av

    with open_video(path) as (container, stream, log):
        index = 0
        try:
            for frame in log.each(_decoded(container, stream, count)):
                if frame.is_corrupt:
                    raise DecodeError(path, f"frame {index} is damaged (the decoder could only conceal it)")
                _require_no_damage(path, index, log)
                if count is None or index < count:
                    yield frame
                index += 1
        except av.error.FFmpegError as error:
            raise DecodeError(path, f"the stream is damaged near frame {index}: {error_text(error)}") from error
        _require_no_damage(path, index, log)


def _decoded(container: Any, stream: Any, count: int | None) -> Iterator[Any]:
    """Frames up to the first `count` and those that were decoded before the last of them."""
    given = 0
    for packet in container.demux(stream):
        for frame in packet.decode():
            given += 1
            yield frame
        if count is not None and given >= count:
            yield from frames_held_back(stream)
            return


def frames_held_back(stream: Any) -> list[Any]:
    """Frames that are decoded and not yet given, as others are shown before them; the decoder then needs a seek."""
    import av

    try:
        return stream.codec_context.decode(None)
    except av.error.EOFError:  # the file is at its end, and all were given
        return []


def _require_no_damage(path: str, index: int, log: FFmpegLog) -> None:
    if log.damage:
        raise DecodeError(path, f"is damaged near frame {index}: FFmpeg says {log.damage!r}")
