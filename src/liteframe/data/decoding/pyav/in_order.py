"""Reads frames in order with PyAV: slow, and right on every file."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import dropwhile, pairwise, zip_longest
from typing import Any

from liteframe.data.decoding.containers.cut_short import missing
from liteframe.data.decoding.containers.ts_joins import is_join
from liteframe.data.decoding.ffmpeg_log import FFmpegLog
from liteframe.data.decoding.pyav.opening import error_text, open_file, open_video, packets_of
from liteframe.data.decoding.pyav_versions import codec_of
from liteframe.errors import DecodeError

# formats whose last packet may be incomplete without any sign of it
_WITHOUT_SIZES = {"mpegts", "mpeg", "asf", "gif", "apng"}
_BEFORE_JOIN = 3
"""Packets at most between the one that is marked as corrupt and the join."""
_CORRUPT = re.compile(r"Packet corrupt")
_AT_END = re.compile(r"Packet corrupt|ended prematurely|Truncating packet|partial file")


def frames_in_order(path: str, count: int | None = None) -> Iterator[Any]:
    """All frames of the best stream, or the first `count`, as PyAV frames, in order of presentation.

    A file that begins within a group of pictures, as a recording may, is read from its first key frame on.

    Raises:
        DecodeError: a frame cannot be decoded, or was patched up by the decoder's error concealment. That goes
            for later frames too, where the decoder reads them before it gives the last of the first `count`.
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
    """The presentation time at which a file begins that begins within a group of pictures; otherwise None.

    It then lacks a part of that group: where as many pictures as others have stand before the first key frame, that of
    the first group is damaged.
    """
    import av

    times, keys, count = list[int](), list[int](), 0
    with open_video(path) as (container, stream, _):
        try:
            for packet in packets_of(path, container, stream):
                if packet.is_keyframe:
                    if count == 0:
                        return None
                    keys.append(count)
                elif packet.size and packet.pts is not None and not keys:
                    times.append(packet.pts)
                count += packet.size > 0
        except av.error.FFmpegError:
            pass  # damage is seen when it is decoded
    longest = max((after - before for before, after in pairwise(keys)), default=0)
    return min(times, default=None) if keys and keys[0] < longest else None


def _frames(path: str, count: int | None, from_key: bool) -> Iterator[Any]:
    """As `frames_in_order`, from the first packet on, or from the first key frame."""
    import av

    with open_video(path) as (container, stream, log):
        with open_file(path) as file:
            packets = packets_across_joins(path, container, stream, log)
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


def packets_across_joins(path: str, container: Any, stream: Any, log: FFmpegLog) -> Iterator[Any]:
    """The packets of a stream, which may be transport streams joined end to end.

    At a join the continuity counters restart. FFmpeg then marks one of the last packets before it as corrupt, although
    it is whole; if it is not, its decoder will say so.
    """
    packets = packets_of(path, container, stream)
    return _forgiving_joins(path, stream, packets, log) if container.format.name == "mpegts" else packets


def _forgiving_joins(path: str, stream: Any, packets: Iterator[Any], log: FFmpegLog) -> Iterator[Any]:
    held, more, told, marked = deque[Any](), True, "", False
    while more or held:
        told = _taken_out(log) or told  # perhaps heard while the file was opened
        while more and len(held) <= _BEFORE_JOIN:
            with log.listening(decoder=False):
                packet = next(packets, None)
            told = _taken_out(log) or told
            more = packet is not None
            held += [packet] if more else []
        if held and held[0].is_corrupt:
            marked = True
            if _begins_anew(held) or _is_joined(path, stream, held):
                held[0].is_corrupt = False
            else:
                log.damage = log.damage or told
        elif not held and told and not marked:
            log.damage = log.damage or told
        if held:
            yield held.popleft()


def _taken_out(log: FFmpegLog) -> str:
    """FFmpeg's message about a corrupt packet, taken out of the log because the packet is marked as well."""
    told = log.damage if _CORRUPT.search(log.damage) else ""
    if told:
        log.forget()
    return told


def _begins_anew(packets: Iterable[Any]) -> bool:
    """Whether the decoding times of some packets go back."""
    times = [packet.dts for packet in packets if packet.dts is not None]
    return any(after < before for before, after in pairwise(times))


def _is_joined(path: str, stream: Any, held: Iterable[Any]) -> bool:
    """Whether a joined transport stream begins, with a key frame, after the first of some packets; times may go on."""
    packets = list(held)
    places = [packet.pos for packet in packets if packet.pos is not None]
    if len(places) < len(packets) or not any(packet.is_keyframe for packet in packets[1:]):
        return False
    with open_file(path, buffered=True) as file:
        return is_join(file, min(places), max(places), stream.id)


def _whole_packets(path: str, container: Any, stream: Any, log: FFmpegLog) -> Iterator[Any]:
    """The packets of a file that is cut short, up to the one at which the demuxer notices.

    No packet flushes the decoder at the end, as frames that precede those it holds back may be missing.
    """
    import av

    if log.damage and not _AT_END.search(log.damage):  # heard while the file was opened, which may read it all
        raise DecodeError(path, f"is damaged: FFmpeg says {log.damage!r}")
    log.forget()
    packets, held = packets_of(path, container, stream), None
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
    """The first `count` frames, and any others that the decoder gives before the last of them."""
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
    """The last frame of each time in one packet of VP9: those before it are lower layers of the same picture."""
    return [frame for frame, after in zip_longest(frames, frames[1:]) if after is None or after.pts != frame.pts]


def frames_held_back(stream: Any) -> list[Any]:
    """Decoded frames that the decoder still holds back for reordering; afterwards it can only go on after a seek."""
    import av

    try:
        return stream.codec_context.decode(None)
    except av.error.EOFError:  # the file is at its end, and all were given
        return []


def _require_no_damage(path: str, index: int, log: FFmpegLog) -> None:
    if log.damage:
        raise DecodeError(path, f"is damaged near frame {index}: FFmpeg says {log.damage!r}")
