"""Reads a stream with PyAV: frames at a rate, upright and scaled, as they come, until it ends or breaks.

What is damaged, as packets get lost on networks, is left out up to the next key frame and counted: nothing that a
decoder has patched up is shown.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from liteframe.data.decoding.containers.formats import HEAD_BYTES, SELF_CONTAINED, container_of, likely_kind
from liteframe.data.decoding.ffmpeg_log import FFmpegLog
from liteframe.data.decoding.live.by_rate import ByRate
from liteframe.data.decoding.live.growing_file import GrowingFile, Pipe
from liteframe.data.decoding.live.source import PROTOCOLS, STDIN, LiveSource
from liteframe.data.decoding.orientation import Orientation, orientation_of
from liteframe.data.decoding.pyav.in_order import highest_layers
from liteframe.data.decoding.pyav.opening import MOST_PIXELS, error_text, made_ready, refuse, shown_stream
from liteframe.data.decoding.pyav.reader import Converter
from liteframe.data.decoding.pyav.scan import TIMES_OF_DECODING
from liteframe.data.decoding.pyav_versions import codec_of, open_options, text_options
from liteframe.errors import DecodeError

_NEED_SEEKING = {"mov", "avi", "asf"}
"""Containers that may have their index at the end, or sound far from the pictures that go with it."""
_CAMERAS = {"linux": "v4l2"}
_NETWORK_FORMATS = f"rtsp,rtp,{SELF_CONTAINED}"


@dataclass(frozen=True)
class LiveSettings:
    """How a stream is read.

    Attributes:
        source: what is read.
        fps: frames a second to take; None takes all.
        size: (height, width) that they are scaled to; None for their own.
        idle_s: seconds without anything new after which the stream is at its end.
        stdin: number of the open file that is stdin, for a source that is.
    """

    source: LiveSource
    fps: float | None
    size: tuple[int, int] | None
    idle_s: float
    stdin: int | None = None


@dataclass(frozen=True)
class LiveFrame:
    """A frame that was taken.

    Attributes:
        time_s: seconds from the first frame of the stream.
        frame_HWC: uint8, RGB, upright.
        damaged: frames up to here that were left out.
    """

    time_s: float
    frame_HWC: np.ndarray
    damaged: int


@dataclass(frozen=True)
class LiveEnd:
    """The last that comes of a stream.

    Attributes:
        reason: in words.
        damaged: frames that were left out.
        broken: it did not come to its end.
    """

    reason: str
    damaged: int = 0
    broken: bool = False


@dataclass(frozen=True)
class _Shown:
    codec: str
    container: str
    height: int
    width: int
    orientation: Orientation


def live_frames(settings: LiveSettings) -> Iterator[LiveFrame | LiveEnd]:
    """The frames of a stream as they come, and at last why there are no more; it blocks meanwhile.

    Raises:
        DecodeError: it cannot be opened, or is no video.
    """
    with _open(settings) as (container, followed, log):
        stream = shown_stream(container)
        if stream is None:
            raise DecodeError(settings.source.told, "has no video stream")
        if (told := container.format.name) in TIMES_OF_DECODING:
            raise DecodeError(
                settings.source.told,
                f"is {told}, which tells when frames are decoded, not when they are shown: record to Matroska, MPEG-TS"
                " or fragmented MP4, or ask about the file as a whole (without --stream)",
            )
        made_ready(settings.source.told, stream)
        log.attend_to(container, stream)
        log.forget()  # a stream that is joined on its way begins in the middle of something
        yield from _Reading(settings, container, stream, log, followed).frames()


class _Reading:
    def __init__(
        self, settings: LiveSettings, container: Any, stream: Any, log: FFmpegLog, followed: GrowingFile | Pipe | None
    ) -> None:
        self._settings, self._container, self._stream, self._log = settings, container, stream, log
        self._followed, self._layered = followed, codec_of(stream) == "vp9"
        self._whole_from = math.inf
        self._begun, self._damaged = False, 0

    def frames(self) -> Iterator[LiveFrame | LiveEnd]:
        import av

        rate: ByRate[Any] = ByRate(self._settings.fps, float(self._stream.time_base) / 2)
        clock, convert = _Clock(self._stream), None
        packets = self._log.each(self._container.demux(self._stream))
        broken, more = "", True
        while more:
            try:
                packet = next(packets, None)
                whole = [] if packet is None else self._whole_frames(packet)
            except (av.error.FFmpegError, IndexError) as error:
                packet, whole, broken = None, [], self._why(error)
            more = packet is not None
            taken = [rate.push(frame, clock.time_of(frame)) for frame in whole]
            for picture, time_s in filter(None, taken if more else [rate.finish()]):
                convert = convert or Converter(self._shown(picture), self._settings.size)
                yield LiveFrame(time_s, convert(picture), self._damaged)
        ended = self._followed.ended if self._followed is not None else ""
        yield LiveEnd(ended or broken or "it is at its end", self._damaged, broken=bool(broken) and not ended)

    def _whole_frames(self, packet: Any) -> list[Any]:
        """What a packet gives, without what is damaged, or comes before the key frame that makes it whole again."""
        import av

        frames: list[Any] = []
        with self._log.listening():
            try:
                frames = packet.decode()
            except av.error.EOFError:
                pass
            except av.error.FFmpegError:
                self._whole_from = math.inf
        if self._log.damage or any(frame.is_corrupt for frame in frames):
            self._whole_from = math.inf
            self._log.forget()
        elif self._whole_from == math.inf and packet.is_keyframe and packet.size:
            self._whole_from = -math.inf if packet.pts is None else packet.pts
        shown = highest_layers(frames) if self._layered else frames
        whole = [frame for frame in shown if self._whole_from <= (0 if frame.pts is None else frame.pts)]
        self._damaged += (len(shown) - len(whole)) * self._begun
        self._begun = self._begun or bool(whole)
        return whole

    def _shown(self, frame: Any) -> _Shown:
        orientation = orientation_of(frame)
        size = (frame.height, frame.width) if orientation.rotation % 180 == 0 else (frame.width, frame.height)
        return _Shown(codec_of(self._stream), self._container.format.name, *size, orientation)

    def _why(self, error: Exception) -> str:
        import av

        if isinstance(error, IndexError):
            return "other streams begin on its way, which are not read here"
        if isinstance(error, av.error.ExitError):
            return f"nothing has come for {self._settings.idle_s:g} s"
        return f"it broke off: {error_text(error)}"


class _Clock:
    """Seconds of frames from the first on; where the stream's times go back, as of another recording, they go on."""

    def __init__(self, stream: Any) -> None:
        rate = stream.average_rate or stream.guessed_rate
        self._usual_gap_s = 1 / float(rate) if rate else 1 / 25
        self._offset_s: float | None = None
        self._last_s = 0.0

    def time_of(self, frame: Any) -> float:
        """Of the next frame: more than that of the one before it."""
        if frame.pts is None:
            time_s = self._last_s + self._usual_gap_s if self._offset_s is not None else 0.0
            self._offset_s = self._offset_s or 0.0
        else:
            told_s = float(frame.pts * frame.time_base)
            if self._offset_s is None:
                self._offset_s, time_s = -told_s, 0.0
            elif (time_s := told_s + self._offset_s) <= self._last_s:
                time_s = self._last_s + self._usual_gap_s
                self._offset_s = time_s - told_s
        self._last_s = time_s
        return time_s


@contextmanager
def _open(settings: LiveSettings) -> Iterator[tuple[Any, GrowingFile | Pipe | None, FFmpegLog]]:
    import av

    source, log = settings.source, FFmpegLog()
    with ExitStack() as stack:
        followed = None
        if source.kind in ("file", "pipe"):
            followed = stack.enter_context(_followed(settings))
            head = followed.head(HEAD_BYTES)
            if not head:
                raise DecodeError(source.told, f"nothing to see: {followed.ended}")
            if isinstance(followed, GrowingFile) and container_of(head) in _NEED_SEEKING:
                followed.offer_seeking()
            what: Any = followed
            options = {"format_whitelist": SELF_CONTAINED, "protocol_whitelist": "none", "enable_drefs": "0"}
            more: dict[str, Any] = {"io_open": refuse}
        elif source.kind == "camera":
            if sys.platform not in _CAMERAS:
                raise DecodeError(source.told, "cameras are read on Linux alone; pipe its video in, with '-' as source")
            what, head, options, more = source.path, b"", {}, {"format": _CAMERAS[sys.platform]}
        else:
            protocols = PROTOCOLS[source.path.partition("://")[0].lower()]
            what, head = source.path, b""
            options = {"format_whitelist": _NETWORK_FORMATS, "protocol_whitelist": protocols}
            options |= {"rtsp_flags": "prefer_tcp"} if protocols.startswith("rtsp") else {}
            options |= {"overrun_nonfatal": "1", "fifo_size": "50000"} if protocols == "udp" else {}
            more = {"timeout": (settings.idle_s, settings.idle_s)}
        options["max_pixels"] = str(MOST_PIXELS)
        try:
            with log.listening(decoder=False):
                container = av.open(what, **text_options(), **open_options(head, options), **more)  # type: ignore[call-overload]
        except (av.error.FFmpegError, ValueError, OSError) as error:
            why = f"nothing has come for {settings.idle_s:g} s" if isinstance(error, av.error.ExitError) else ""
            why = why or (f"is {kind}" if (kind := likely_kind(head)) else f"cannot be opened: {error_text(error)}")
            raise DecodeError(source.told, why) from error
        yield stack.enter_context(container), followed, log


@contextmanager
def _followed(settings: LiveSettings) -> Iterator[GrowingFile | Pipe]:
    source = settings.source
    try:
        if source.name == STDIN:
            assert settings.stdin is not None
            file = os.fdopen(settings.stdin, "rb", buffering=0)
        elif source.kind == "pipe":
            # one without a writer would be waited for without end
            file = os.fdopen(os.open(source.path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
            os.set_blocking(file.fileno(), True)
        else:
            file = open(source.path, "rb", buffering=0)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DecodeError(source.told, f"cannot be opened: {error.strerror}") from error
    with file:
        yield Pipe(file, settings.idle_s) if source.kind == "pipe" else GrowingFile(file, settings.idle_s)
