"""What the first picture of a video is like: as its headers say where these say it all, otherwise by decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from liteframe.data.decoding.bitstream.h26x_pictures import H264Pictures, HevcPictures
from liteframe.data.decoding.bitstream.nal_units import Unread, messages
from liteframe.data.decoding.orientation import Orientation, orientation_of
from liteframe.data.decoding.pyav.in_order import highest_layers
from liteframe.data.decoding.pyav.opening import MOST_PIXELS, error_text
from liteframe.data.decoding.pyav_versions import argument_error, codec_of, pixel_format_of
from liteframe.errors import DecodeError

_ORIENTATION = 47
_STARTS = {
    "h264": (frozenset({5}), frozenset({6}), frozenset({9, 12})),
    "hevc": (frozenset({19, 20}), frozenset({39}), frozenset({35, 38})),
}
"""Kinds of units of a picture that needs no others, of messages, and of what tells nothing."""


@dataclass(frozen=True)
class FirstPicture:
    """The first picture that a decoder gives, as it is stored.

    Attributes:
        pts: its presentation time.
        width, height: in pixels.
        pixel_format: FFmpeg's name.
        orientation: that comes with it, from the file or its stream.
    """

    pts: int | None
    width: int
    height: int
    pixel_format: str
    orientation: Orientation


def first_picture(path: str, packet: Any, told_orientation: Orientation | None = None) -> FirstPicture | None:
    """The picture of a packet at the start of a file, None where its decoder gives none yet.

    Args:
        path: of the file.
        packet: the next one of its video.
        told_orientation: that of the container; None where it is not known but by decoding.

    Raises:
        DecodeError: the packet is damaged.
    """
    announced = None if told_orientation is None else _announced(packet, told_orientation)
    if announced is not None:
        return announced
    frame = _decoded(path, packet)
    return None if frame is None else picture_of(frame)


def picture_of(frame: Any) -> FirstPicture:
    """A decoded frame as a first picture."""
    return FirstPicture(frame.pts, frame.width, frame.height, frame.format.name, orientation_of(frame))


def _announced(packet: Any, told_orientation: Orientation) -> FirstPicture | None:
    """What H.264 and HEVC tell of a picture that needs no others; FFmpeg has looked at it when it opened the file."""
    context = packet.stream.codec_context
    pixel_format = pixel_format_of(context)
    if not packet.is_keyframe or packet.is_discard or packet.is_corrupt or packet.pts is None or not pixel_format:
        return None
    if not starts_plainly(codec_of(packet.stream), bytes(context.extradata or b""), bytes(packet)):
        return None
    return FirstPicture(packet.pts, context.width, context.height, pixel_format, told_orientation)


def starts_plainly(codec: str, extradata: bytes, data: bytes) -> bool:
    """Whether a first packet is one H.264 or HEVC picture that needs no others, and no message tells how it is turned.

    False, too, where anything else is in the packet, such as parameters, or its units have no length in front.

    Args:
        codec: FFmpeg's name.
        extradata: what the container holds for the decoder.
        data: of the packet.
    """
    if codec not in _STARTS:
        return False
    of_pictures, of_messages, of_others = _STARTS[codec]
    try:
        reader = H264Pictures(extradata, fields=False) if codec == "h264" else HevcPictures(extradata)
        units = reader.units.of(data)
        kinds = {reader.units.kind(unit) for unit in units}
        if not reader.units.length_bytes or not kinds & of_pictures or kinds - of_pictures - of_messages - of_others:
            return False
        told = [*units, *reader.units.of_container()]
        remarks = [unit for unit in told if reader.units.kind(unit) in of_messages]
        return not any(_ORIENTATION in messages(unit, reader.units.head_bytes) for unit in remarks)
    except (Unread, IndexError):
        return False


def _decoded(path: str, packet: Any) -> Any:
    """The frame that a decoder gives for a packet at the start of a file, None where it gives none yet.

    A key frame is asked for at once, as decoders hold it back for several more packets.

    Raises:
        DecodeError: the packet is damaged.
    """
    import av

    context = packet.stream.codec_context
    try:
        frames = packet.decode()
        if not frames and packet.is_keyframe and packet.size and not packet.is_discard:
            frames = context.decode(None)
            context.flush_buffers()
            frames = frames or packet.decode()  # it may hold the first of two fields
        if codec_of(packet.stream) == "vp9":
            frames = highest_layers(frames)
        return next(iter(frames), None)
    except av.error.FFmpegError as error:
        why = error_text(error)
        if isinstance(error, argument_error()):  # what decoders say of sizes that they are not allowed
            why = f"it is damaged, or has more than {MOST_PIXELS // 1_000_000} million pixels"
        raise DecodeError(path, f"its first frame cannot be decoded: {why}") from error
