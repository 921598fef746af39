"""What a video file holds: its frames and their times, from its packets, or from decoding where packets do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from liteframe.data.containers import is_unmistakable
from liteframe.data.cut_short import CutShort, missing
from liteframe.data.ffmpeg_log import FFmpegLog
from liteframe.data.mp4_boxes import layout_doubt
from liteframe.data.mp4_packets import read_tables
from liteframe.data.orientation import Orientation, orientation_of
from liteframe.data.packet_table import PacketTable, read_packets
from liteframe.data.pyav_open import error_text, file_head, moving_streams, open_file, open_video
from liteframe.data.pyav_versions import codec_of
from liteframe.errors import DecodeError

# the last packet of these may be a part of one without anything telling
_WITHOUT_SIZES = {"mpegts", "mpeg"}
# it tells when frames are decoded, and FFmpeg guesses when they are shown
_GUESSED = "avi"


@dataclass(frozen=True)
class Scan:
    """What a file holds.

    Attributes:
        width: pixels of an upright frame.
        height: pixels of an upright frame.
        orientation: how decoded pictures become upright.
        sample_aspect: width of a pixel of an upright frame by its height; frames are left as they are stored.
        streams: video streams that the file has, covers aside; the one marked as the default is read.
        fps: mean frames a second, of the times where there are any.
        frames: distinct frames that a player shows.
        pts_T: their presentation times in units of `time_base` seconds, ascending; None where the file has none to use.
        seconds_T: seconds of each frame after the first, where they are other than those of `pts_T`.
        key_pts_K: presentation times of the key frames, ascending.
        by_decoding: the frames were counted by decoding them all, so only reading in order is safe.
        hidden: packets that hold no frame to be shown.
        open_groups: decoding cannot start afresh at each key frame, or the packets do not tell.
        early_keys: a key frame is decoded before the one before it is shown, so that seeks by time of decoding miss.
        layout_doubt: why an MP4 or QuickTime file is not laid out in the plain way; empty where it is, and for others.
        container: FFmpeg's name of the format.
        cut_short: what the file lacks at its end; empty where nothing is known to be missing.
        unmistakable: the file begins as others of its format do, so that no FFmpeg takes it for another.
    """

    path: str
    codec: str
    pixel_format: str
    width: int
    height: int
    orientation: Orientation
    sample_aspect: float
    streams: int
    fps: float
    frames: int
    duration: float
    time_base: float
    pts_T: np.ndarray | None
    seconds_T: np.ndarray | None
    key_pts_K: np.ndarray
    by_decoding: bool
    hidden: int
    open_groups: bool
    early_keys: bool
    layout_doubt: str
    container: str
    cut_short: str
    unmistakable: bool

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise by which decoded pictures are turned, after any mirroring."""
        return self.orientation.rotation

    def times(self) -> np.ndarray:
        """Start of each frame in seconds after the first one, (frames,) float64."""
        if self.seconds_T is not None:
            return self.seconds_T
        if self.pts_T is None:
            return np.arange(self.frames) / self.fps
        return (self.pts_T - self.pts_T[0]) * self.time_base


@dataclass(frozen=True)
class _Header:
    """What an open file says of itself and its video stream, and its first frame."""

    codec: str
    container: str
    time_base: float
    rate: float
    sample_aspect: float
    streams: int
    layout_doubt: str
    cut_short: str
    first: Any


def scan(path: str, by_decoding: bool = False, truncated: bool = False) -> Scan:
    """What `path` holds, from its packets and first frame; with `by_decoding` from decoding every frame.

    Args:
        path: the video.
        by_decoding: decode every frame.
        truncated: a file that is cut short is good for what is there, which is found out by decoding.

    Raises:
        DecodeError: the file cannot be read, or its first frame cannot be decoded.
        CutShort: it is cut short.
    """
    header, table = _read_header(path, truncated)
    counted = by_decoding or table is None or bool(header.cut_short)
    if counted or table is None:
        pts_T, frames, seconds_T = _decode_all(path, header.container, header.time_base)
        table = PacketTable(np.empty(0, np.int64), np.empty(0, np.int64), 0, True, True)
    else:
        pts_T, frames, seconds_T = table.pts_T, len(table.pts_T), None
    if frames == 0:
        raise DecodeError(path, "has no frame that can be decoded")
    shown_T = (pts_T - pts_T[0]) * header.time_base if seconds_T is None and pts_T is not None else seconds_T
    fps, duration = _rate_and_duration(header.rate, frames, shown_T, header.time_base)
    orientation = orientation_of(header.first)
    turned = orientation.rotation % 180 != 0
    sizes = (header.first.width, header.first.height)
    width, height = sizes[::-1] if turned else sizes
    return Scan(
        path=path,
        codec=header.codec,
        pixel_format=header.first.format.name,
        width=width,
        height=height,
        orientation=orientation,
        sample_aspect=1 / header.sample_aspect if turned else header.sample_aspect,
        streams=header.streams,
        fps=fps,
        frames=frames,
        duration=duration,
        time_base=header.time_base,
        pts_T=pts_T,
        seconds_T=seconds_T,
        key_pts_K=table.key_pts_K,
        by_decoding=counted,
        hidden=table.hidden,
        open_groups=table.open_groups,
        early_keys=table.early_keys,
        layout_doubt=header.layout_doubt,
        container=header.container,
        cut_short=header.cut_short,
        unmistakable=is_unmistakable(header.container, file_head(path)),
    )


def _read_header(path: str, truncated: bool) -> tuple[_Header, PacketTable | None]:
    for read in (read_tables, read_packets):
        with open_video(path) as (container, stream, log):
            with open_file(path) as file:
                lost = missing(file, container.format.name)
                is_mp4 = container.format.name.startswith("mov,")
                doubt = layout_doubt(file, stream.id) if is_mp4 else ""
            if lost and not truncated:
                raise CutShort(path, _told(container, stream, lost))
            told: tuple[PacketTable | None, Any] | None
            if lost:
                told = None, next(frames_in_order(path, 1), None)
            else:
                with log.listening(decoder=False):
                    told = read(path, container, stream, log)
            if told is None:
                continue
            if log.damage and not lost:
                raise DecodeError(path, f"is damaged: FFmpeg says {log.damage!r}")
            table, first = told
            if first is None:
                raise DecodeError(path, "has no frame that can be decoded")
            header = _Header(
                codec=codec_of(stream),
                container=container.format.name,
                time_base=float(stream.time_base),
                rate=float(stream.average_rate or stream.guessed_rate or stream.base_rate or 0),
                sample_aspect=float(stream.sample_aspect_ratio or 0) or 1.0,
                streams=len(moving_streams(container)),
                layout_doubt=doubt,
                cut_short=lost,
                first=first,
            )
            return header, table
    raise AssertionError


def _told(container: Any, stream: Any, lost: str) -> str:
    """That a file is cut short, in seconds where they are known."""
    there = _last_time(container, stream)
    whole = container.duration / 1e6 if container.duration else 0.0
    seconds = f"{there:.1f} of {whole:.1f} s are there, " if 0 < there < whole else ""
    return f"is cut short: {seconds}{lost}; fetch or write it anew, or use what is there by data.truncated: use"


def _last_time(container: Any, stream: Any) -> float:
    """Seconds of video up to where packets end or are damaged."""
    import av

    first = last = None
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                break
            if packet.size and packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last = packet.pts if last is None else max(last, packet.pts)
    except av.error.FFmpegError:
        pass  # the end of what is there
    return 0.0 if first is None or last is None else float((last - first) * stream.time_base)


def _rate_and_duration(told: float, frames: int, shown_T: np.ndarray | None, time_base: float) -> tuple[float, float]:
    """Frames a second and seconds: of the times where there are any, as the container's rate may be another."""
    if shown_T is None or frames < 2:
        fps = told if told > 0 else 25.0
        return fps, frames / fps
    span = float(shown_T[-1])
    by_times = (frames - 1) / span
    # the container knows the rate more exactly than rounded times do, or counts how long the last frame is shown
    slack = time_base / span + 1.5 / frames
    fps = told if told > 0 and abs(told - by_times) <= min(max(slack, 0.002), 0.1) * by_times else by_times
    return fps, span + float(np.median(np.diff(shown_T)))


def _decode_all(path: str, container: str, time_base: float) -> tuple[np.ndarray | None, int, np.ndarray | None]:
    """Times of all frames where they ascend, how many frames there are, and other seconds where times do not."""
    times = [frame.pts for frame in frames_in_order(path)]
    frames = len(times)
    if not frames or any(time is None for time in times):
        return None, frames, None
    pts_T = np.array(times, np.int64)
    steps = np.diff(pts_T)
    ascend = frames < 2 or bool(steps.min() > 0)
    if ascend and container != _GUESSED:
        return pts_T, frames, None
    decoded_T = _decoding_times(path)
    if len(decoded_T) == frames and (np.diff(decoded_T) > 0).all():  # shown in that rhythm, some frames later
        return pts_T if ascend else None, frames, (decoded_T - decoded_T[0]) * time_base
    if ascend:
        return pts_T, frames, None
    if not (steps > 0).any():
        return None, frames, None
    joined = np.where(steps > 0, steps, np.median(steps[steps > 0]))  # parts that each begin anew, end to end
    return None, frames, np.concatenate([[0.0], np.cumsum(joined)]) * time_base


def _decoding_times(path: str) -> np.ndarray:
    """When packets are decoded, (packets,) int64; () where one does not tell."""
    with open_video(path) as (container, stream, log), log.listening(decoder=False):
        times = [packet.dts for packet in container.demux(stream) if packet.size]
    return np.array([] if None in times else times, np.int64)


def frames_in_order(path: str, count: int | None = None) -> Iterator[Any]:
    """All frames of the best stream, or the first `count`, as PyAV frames, in order of presentation.

    Raises:
        DecodeError: a frame cannot be decoded, or was patched up by the decoder's error concealment. Of the frames
            behind the first `count`, those that the decoder needed before the last of them count, too.
    """
    import av

    with open_video(path) as (container, stream, log):
        with open_file(path) as file:
            packets = container.demux(stream)
            if missing(file, container.format.name):  # a scan has allowed it
                packets = _whole_packets(container, stream, log)
        index = 0
        try:
            for frame in log.each(_decoded(packets, stream, count)):
                if frame.is_corrupt:
                    raise DecodeError(path, f"frame {index} is damaged (the decoder could only conceal it)")
                _require_no_damage(path, index, log)
                if count is None or index < count:
                    yield frame
                index += 1
        except av.error.FFmpegError as error:
            raise DecodeError(path, f"the stream is damaged near frame {index}: {error_text(error)}") from error
        _require_no_damage(path, index, log)


def _whole_packets(container: Any, stream: Any, log: FFmpegLog) -> Iterator[Any]:
    """The packets of a file that is cut short, up to the one at which the demuxer sees that."""
    import av

    packets = container.demux(stream)
    held = None
    while True:
        before = log.damage
        try:
            with log.listening(decoder=False):
                packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None
        cut = not before and bool(log.damage)
        if cut:
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
    yield None


def _decoded(packets: Iterator[Any], stream: Any, count: int | None) -> Iterator[Any]:
    """Frames up to the first `count` and those that were decoded before the last of them."""
    given = 0
    for packet in packets:
        for frame in frames_held_back(stream) if packet is None else packet.decode():
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
