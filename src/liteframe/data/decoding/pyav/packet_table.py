"""When the frames of a video are shown, from its packets alone."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.bitstream.h26x_pictures import H264Pictures
from liteframe.data.decoding.bitstream.mpeg_pictures import is_b_picture
from liteframe.data.decoding.bitstream.nal_units import Units, Unread
from liteframe.data.decoding.bitstream.parameter_sets import ParameterSets
from liteframe.data.decoding.ffmpeg_log import FFmpegLog
from liteframe.data.decoding.pyav.first_picture import FirstPicture, first_picture, picture_of
from liteframe.data.decoding.pyav.in_order import frames_in_order, packets_across_joins
from liteframe.data.decoding.pyav.opening import error_text
from liteframe.data.decoding.pyav_versions import codec_of, ends_of_samples
from liteframe.errors import DecodeError

MOST_PACKETS = 10_000_000
"""Packets that a stream may have: two days at 60 frames a second."""

# others give packets times in the order of decoding, or none: AVI, raw streams, MPEG program streams
_CONTAINERS_WITH_TIMES = {"mov", "mp4", "matroska", "webm", "mpegts", "flv", "ivf"}
# a packet of these whose head is damaged is left out by some FFmpegs without a word
_WITHOUT_INDEX = {"mpegts", "flv"}
# others show pictures in the order in which they are decoded
_REORDERING = {"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "rv30", "rv40", "cavs"}
# an end of the sequence is a packet of its own
_WITH_OTHER_PACKETS = {"dirac"}
_JPEG_START = b"\xff\xd8"
_IDR = 5


@dataclass(frozen=True)
class PacketTable:
    """Frames by what packets say of themselves.

    Attributes:
        pts_T: presentation times of the shown frames, ascending.
        key_pts_K: those of the key frames, ascending.
        hidden: packets that hold no frame to be shown.
        open_groups: decoding cannot start afresh at each key frame.
        early_keys: a key frame is decoded before the one before it is shown.
    """

    pts_T: np.ndarray
    key_pts_K: np.ndarray
    hidden: int
    open_groups: bool
    early_keys: bool


class _Packets:
    """What is kept of the packets of a stream while they are read."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.codec = codec_of(stream)
        self.told, self.count, self.discarded = _has_times(container, stream), 0, 0
        self.fresh, self.early = True, False
        self._times, self._keys = array("q"), bytearray()
        self._last_key_pts: int | None = None
        self._starts_afresh, self._is_lone_field = _idr_finder(stream), field_finder(stream)
        self._parameters, self._references = ParameterSets(stream), 0

    def add(self, packet: Any) -> None:
        self.count += 1
        self.fresh = self.fresh and (not packet.is_keyframe or self._starts_afresh(packet))
        lacks_one = self._may_lack_one(packet)
        if packet.is_discard:
            self.discarded += 1
        elif packet.pts is None or not self._is_frame(packet) or lacks_one:
            self.told = False
        elif self.told and not self._parameters.are_known_at(packet):
            self.told = False  # what is sought would be decoded by others
        elif self.codec != "vp8" or memoryview(packet)[0] >> 4 & 1:  # its alternate references are packets of their own
            self._times.append(packet.pts)
            self._keys.append(packet.is_keyframe)
            if packet.is_keyframe:
                last, self._last_key_pts = self._last_key_pts, packet.pts
                self.early = self.early or packet.dts is None or (last is not None and packet.dts <= last)

    def _may_lack_one(self, packet: Any) -> bool:
        """Whether a packet refers to a picture before the first one, which is gone where the file was cut there."""
        if self._references == 2:
            return False
        is_b = is_b_picture(self.codec, bytes(packet))
        self._references += not is_b
        return is_b

    def _is_frame(self, packet: Any) -> bool:
        if self.codec == "mjpeg":
            return bytes(memoryview(packet)[:2]) == _JPEG_START
        return self._is_lone_field is None or not self._is_lone_field(packet)

    def table(self, container_name: str) -> PacketTable | None:
        """None where packets do not tell."""
        if not self.told or not self._times or (self.discarded == 0 and not self._keys[0]):
            return None
        pts_P, key_P = np.array(self._times, np.int64), np.frombuffer(self._keys, bool)
        pts_T = np.sort(pts_P)
        if container_name in _WITHOUT_INDEX and _has_gaps(pts_T):
            return None
        return table_of(pts_P, pts_T, key_P, self.codec, self.fresh, self.count - len(self._times), self.early)


def table_of(
    pts_P: np.ndarray, pts_T: np.ndarray, key_P: np.ndarray, codec: str, fresh: bool, hidden: int, early: bool
) -> PacketTable | None:
    """The table of packets in order of decoding and, sorted, of presentation; None where their times are wrong."""
    if len(pts_T) > 1 and np.diff(pts_T).min() == 0:
        return None
    groups = _groups(pts_P, key_P, codec, fresh)
    if groups is None:
        return None
    is_open = not (groups == "closed" and fresh)
    return PacketTable(pts_T, np.sort(pts_P[key_P]), hidden, is_open, early)


def read_packets(path: str, container: Any, stream: Any, log: FFmpegLog) -> tuple[PacketTable | None, FirstPicture]:
    """The table of a stream, None where packets do not tell, and the first picture that its decoder gives.

    Raises:
        DecodeError: the container is cut short or damaged, or the first frame is.
    """
    import av

    _require_whole(path, stream)
    packets, first, begun = _Packets(container, stream), None, False
    try:
        for packet in packets_across_joins(path, container, stream, log):
            heartbeat.step()
            begun = begun or packet.is_keyframe
            if first is None and begun:
                with log.listening():
                    first = first_picture(path, packet)
            if packet.size == 0:
                continue
            if packet.is_corrupt:
                raise DecodeError(path, f"packet {packets.count} is damaged or cut short")
            packets.add(packet)
            if packets.count > MOST_PACKETS:
                raise DecodeError(path, f"has more than {MOST_PACKETS} packets of video: cut it into parts")
    except av.error.FFmpegError as error:
        raise DecodeError(
            path, f"the container is damaged after packet {packets.count}: {error_text(error)}"
        ) from error
    if packets.count == 0:
        raise DecodeError(path, "its video stream is empty, or lies in another file: write it anew as one file")
    if first is None:  # no key frame is called one
        first = next(map(picture_of, frames_in_order(path, 1)), None)
    if first is None:
        raise DecodeError(path, "has no frame that can be decoded")
    return packets.table(container.format.name), first


def _require_whole(path: str, stream: Any) -> None:
    if "mov" in stream.container.format.name:
        require_within(path, ends_of_samples(stream))


def require_within(path: str, ends_S: np.ndarray) -> None:
    """Raises DecodeError where samples end, in bytes, behind the end of a file."""
    missing = int((ends_S > os.path.getsize(path)).sum())
    if missing:
        raise DecodeError(path, f"is cut short: {missing} of {len(ends_S)} frames lie beyond the end of the file")


def _has_gaps(pts_T: np.ndarray) -> bool:
    """Whether frames seem to be missing, which a container without an index does not tell otherwise."""
    steps = np.diff(pts_T)
    return len(steps) > 0 and bool(steps.max() > 1.75 * np.median(steps))  # 1.5 where films are shown as television


def _groups(pts_P: np.ndarray, key_P: np.ndarray, codec: str, fresh: bool) -> str | None:
    """ "closed" or "open" groups of pictures, by times of packets in order of decoding; None where the times are wrong.

    A key frame is shown after all that is decoded before it, and before all that is decoded after the next one.
    """
    before_P = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(pts_P)[:-1]])
    from_here_P = np.minimum.accumulate(pts_P[::-1])[::-1]
    before_K, own_K, from_here_K = before_P[key_P], pts_P[key_P], from_here_P[key_P]
    if (before_K >= own_K).any() or (from_here_K[1:] <= own_K[:-1]).any():
        return None
    if codec not in _REORDERING and (before_P > pts_P).any():
        return None
    if (from_here_K == own_K).all():
        return "closed"
    return None if codec == "h264" and fresh else "open"  # nothing that follows an IDR picture is shown before it


def _has_times(container: Any, stream: Any) -> bool:
    """Whether packets carry times of presentation."""
    names = set(container.format.name.split(","))
    # Matroska may wrap a stream of AVI, whose times are those of decoding: then it has a four-letter code
    wrapped = "matroska" in names and stream.codec_context.codec_tag.strip("\0") != ""
    return bool(names & _CONTAINERS_WITH_TIMES) and not wrapped and codec_of(stream) not in _WITH_OTHER_PACKETS


def _idr_finder(stream: Any) -> Callable[[Any], bool]:
    """A test of key packets: can decoding start afresh there? In H.264 at IDR pictures only; elsewhere times tell."""
    if codec_of(stream) != "h264":
        return lambda packet: True
    units = Units("h264", bytes(stream.codec_context.extradata or b""))
    return lambda packet: any(units.kind(unit) == _IDR for unit in units.of(memoryview(packet)))


def field_finder(stream: Any) -> Callable[[Any], bool] | None:
    """A test of packets: is it, or may it be, one of the two fields of a frame? None where there are no fields."""
    try:
        pictures = H264Pictures(bytes(stream.codec_context.extradata or b"")) if codec_of(stream) == "h264" else None
    except (Unread, IndexError):
        return None
    if pictures is None or not pictures.may_have_fields:
        return None

    def is_lone_field(packet: Any) -> bool:
        try:
            return pictures.is_lone_field(packet)
        except (Unread, IndexError):
            return True

    return is_lone_field
