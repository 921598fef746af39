"""Reads frames in order with PyAV: slow, and right on every file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import dropwhile, zip_longest
from typing import Any

from liteframe.data.cut_short import missing
from liteframe.data.ffmpeg_log import FFmpegLog
from liteframe.data.pyav_open import error_text, open_file, open_video
from liteframe.data.pyav_versions import codec_of
from liteframe.errors import DecodeError

# the last packet of these may be a part of one without anything telling
_WITHOUT_SIZES = {"mpegts", "mpeg", "asf", "gif", "apng"}
_AT_END = re.compile(r"Packet corrupt|ended prematurely|Truncating packet|partial file")


def frames_in_order(path: str, count: int | None = None) -> Iterator[Any]:
    """All frames of the best stream, or the first `count`, as PyAV frames, in order of presentation.

    Of a file that begins within a group of pictures, as a recording may, those from its first key frame on.

    Raises:
        DecodeError: a frame cannot be decoded, or was patched up by the decoder's error concealment. Of the frames
            behind the first `count`, those that the decoder needed before the last of them count, too.
    """
    given = False
    try:
        for frame in _frames(path, count, from_key=False):
            given = True
            yield frame
    except DecodeError:
        if given or time_before_key(path) is None:
            raise
        yield from _frames(path, count, from_key=True)


def time_before_key(path: str) -> int | None:
    """The presentation time at which a file begins that begins within a group of pictures; otherwise None."""
    import av

    with open_video(path) as (container, stream, _):
        times = list[int]()
        try:
            for packet in container.demux(stream):
                if packet.is_keyframe:
                    return min(times, default=None)
                if packet.size and packet.pts is not None:
                    times.append(packet.pts)
        except av.error.FFmpegError:
            pass  # damage is seen when it is decoded
    return None


def _frames(path: str, count: int | None, from_key: bool) -> Iterator[Any]:
    """As `frames_in_order`, from the first packet on, or from the first key frame."""
    import av

    with open_video(path) as (container, stream, log):
        with open_file(path) as file:
            packets = container.demux(stream)
            if missing(file, container.format.name):  # a scan has allowed it
                packets = _whole_packets(path, container, stream, log)
        if from_key:
            packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
        index = 0
        try:
            for frame in log.each(_decoded(packets, stream, count)):
                if frame.is_corrupt:
                    raise DecodeError(path, f"frame {index} is damaged (the decoder could only conceal it)")
                _require_no_damage(path, index, log)
                if from_key and index == 0 and not frame.key_frame:
                    raise DecodeError(path, "begins within a group of pictures, and none can be decoded on its own")
                if count is None or index < count:
                    yield frame
                index += 1
        except av.error.FFmpegError as error:
            raise DecodeError(path, f"the stream is damaged near frame {index}: {error_text(error)}") from error
        _require_no_damage(path, index, log)


def _whole_packets(path: str, container: Any, stream: Any, log: FFmpegLog) -> Iterator[Any]:
    """The packets of a file that is cut short, up to the one at which the demuxer sees that.

    There is none that ends the stream: of the frames that the decoder holds back, those before them may be missing.
    """
    import av

    if log.damage and not _AT_END.search(log.damage):  # heard while the file was opened, which may read it all
        raise DecodeError(path, f"is damaged: FFmpeg says {log.damage!r}")
    log.forget()
    packets, held = container.demux(stream), None
    while True:
        try:
            with log.listening(decoder=False):
                packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        cut = bool(log.damage)
        log.forget()
        if packet is None or packet.is_corrupt or packet.size == 0:
            break
        if held is not None:
            yield held
        held = packet
        if cut:
            break
    if held is not None and container.format.name not in _WITHOUT_SIZES:
        yield held


def _decoded(packets: Iterator[Any], stream: Any, count: int | None) -> Iterator[Any]:
    """Frames up to the first `count` and those that were decoded before the last of them."""
    given, layered = 0, codec_of(stream) == "vp9"
    for packet in packets:
        frames = packet.decode()
        for frame in highest_layers(frames) if layered else frames:
            given += 1
            yield frame
        if count is not None and given >= count:
            yield from frames_held_back(stream)
            return


def highest_layers(frames: list[Any]) -> list[Any]:
    """Of the frames of one packet of VP9, the last of each time: those before it are lower layers of the picture."""
    return [frame for frame, after in zip_longest(frames, frames[1:]) if after is None or after.pts != frame.pts]


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
