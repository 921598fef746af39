"""What an open video says of itself, and its first picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from liteframe.data.decoding.containers.cut_short import CUT, CutShort, missing
from liteframe.data.decoding.containers.encryption import IS_ENCRYPTED, is_encrypted
from liteframe.data.decoding.containers.formats import BARE_STREAMS
from liteframe.data.decoding.containers.mp4_boxes import OddEdits, layout_doubt, track_matrix
from liteframe.data.decoding.orientation import Orientation, from_matrix
from liteframe.data.decoding.pyav.first_picture import FirstPicture, picture_of
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.mp4_packets import read_tables
from liteframe.data.decoding.pyav.opening import moving_streams, open_file, open_video, packets_of
from liteframe.data.decoding.pyav.packet_table import PacketTable, read_packets
from liteframe.data.decoding.pyav_versions import codec_of
from liteframe.errors import DecodeError

_MOST_RATE = 1000.0
"""Frames a second. What a codec gives above that is the clock in which it counts times (MPEG-4 part 2)."""

# containers that announce a duration; for others FFmpeg works it out from what is there
_ANNOUNCING = {"mov", "matroska", "flv", "asf", "avi"}


@dataclass(frozen=True)
class Header:
    """What an open file says of itself and its video stream.

    Attributes:
        codec: FFmpeg's name of the codec.
        container: FFmpeg's name of the format.
        time_base: seconds that its times are counted in.
        rate: frames a second, by the container or by FFmpeg's guess; 0 where there is none.
        sample_aspect: width of a stored pixel by its height.
        streams: video streams, covers aside.
        layout_doubt: why an MP4 or QuickTime file is not laid out in the plain way.
        cut_short: what it lacks at its end.
        told_orientation: how the container says that pictures are turned.
        by_tables: few of its packets were read.
        first: the first picture.
    """

    codec: str
    container: str
    time_base: float
    rate: float
    sample_aspect: float
    streams: int
    layout_doubt: str
    cut_short: str
    told_orientation: Orientation
    by_tables: bool
    first: FirstPicture


def told_rate(path: str) -> float:
    """Frames a second by the container, FFmpeg's `avg_frame_rate`; 0 where it tells none.

    At a variable rate it need not be the mean, as the last frame's duration and fields of the header enter into it.

    Raises:
        DecodeError: the file cannot be opened.
    """
    with open_video(path) as (_, stream, _):
        return float(stream.average_rate or 0)


def told_duration(path: str) -> float:
    """Seconds of the file by its container, sounds included, the last frame as long as it says; 0 where it tells none.

    Raises:
        DecodeError: the file cannot be opened.
    """
    with open_video(path) as (container, _, _):
        return max(0.0, (container.duration or 0) / 1e6)


def rate_of(container: Any, stream: Any) -> float:
    """Frames a second, by the container, by a bare stream itself, or by FFmpeg's guess; 0 where times alone tell."""
    if container.format.name in BARE_STREAMS and (rate := float(stream.codec_context.framerate or 0)):
        return rate if rate <= _MOST_RATE else 0.0
    return float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0)


def has_assumed_rate(container: Any, stream: Any) -> bool:
    """Whether neither a container nor the stream itself tells a rate, so that FFmpeg assumes 25 frames a second."""
    return container.format.name in BARE_STREAMS and not stream.codec_context.framerate


def read_header(path: str, truncated: bool) -> tuple[Header, PacketTable | None]:
    """The header of a video, and the table of its packets where they tell the frames.

    Raises:
        DecodeError: it is damaged, or has no frame that can be decoded.
        CutShort: it is cut short, and not `truncated`.
    """
    for by_tables in (True, False):
        with open_video(path, keep=True) as (container, stream, log):
            with open_file(path, buffered=True) as file:
                lost = missing(file, container.format.name)
                is_mp4 = container.format.name.startswith("mov,")
                doubt = layout_doubt(file, stream.id) if is_mp4 else None
                matrix = track_matrix(file, stream.id) if is_mp4 else None
                encrypted = is_encrypted(file, container.format.name, stream.id)
                turned = None if matrix is None else from_matrix(np.array(matrix))
            if encrypted:
                raise DecodeError(path, IS_ENCRYPTED)
            if lost and not truncated:
                raise CutShort(path, _told(path, container, stream, lost))
            told: tuple[PacketTable | None, FirstPicture | None] | None
            if lost:
                told = None, next(map(picture_of, frames_in_order(path, 1)), None)
            else:
                with log.listening(decoder=False):
                    if by_tables:
                        told = read_tables(path, container, stream, log, turned)
                    else:
                        told = read_packets(path, container, stream, log)
            if told is None:
                continue
            if log.damage and not lost:
                raise DecodeError(path, f"is damaged: FFmpeg says {log.damage!r}")
            table, first = told
            if first is None:
                raise DecodeError(path, "has no frame that can be decoded")
            header = Header(
                codec=codec_of(stream),
                container=container.format.name,
                time_base=float(stream.time_base),
                rate=rate_of(container, stream),
                sample_aspect=float(stream.sample_aspect_ratio or 0) or 1.0,
                streams=len(moving_streams(container)),
                layout_doubt=str(doubt or ""),
                cut_short=lost,
                told_orientation=turned or Orientation(),
                by_tables=by_tables and not lost,
                first=first,
            )
            # FFmpeg gives packets of stretches that its decoder cannot show
            return header, None if isinstance(doubt, OddEdits) else table
    raise AssertionError


def _told(path: str, container: Any, stream: Any, lost: str) -> str:
    """The message that a file is cut short, with seconds where they are known."""
    there = _last_time(path, container, stream)
    announces = container.format.name.split(",")[0] in _ANNOUNCING
    whole = container.duration / 1e6 if container.duration and announces else 0.0
    seconds = f"{there:.1f} of {whole:.1f} s are there, " if 0 < there < whole else ""
    return f"{CUT}: {seconds}{lost}; fetch or write it anew, or use what is there by data.truncated: use"


def _last_time(path: str, container: Any, stream: Any) -> float:
    """Seconds of video up to where packets end or are damaged."""
    import av

    first = last = None
    try:
        for packet in packets_of(path, container, stream):
            if packet.is_corrupt:
                break
            if packet.size and packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last = packet.pts if last is None else max(last, packet.pts)
    except av.error.FFmpegError:
        pass  # the end of what is there
    return 0.0 if first is None or last is None else float((last - first) * stream.time_base)
