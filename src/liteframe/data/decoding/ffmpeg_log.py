"""What FFmpeg logs while it reads a file: most decoders patch damage up and go on, and only the log tells."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from liteframe.data.decoding import heartbeat

Item = TypeVar("Item")
_Entry = tuple[int, str, str]
"""Level, name of what says it, text."""
_LONGEST = 150

# below FFmpeg's level of errors, but bytes are missing, or a part of a picture is left as it was in memory
_LOST = re.compile(r"Truncating packet of size|Skipping invalid undecodable NALU")
# at FFmpeg's level of errors, but of what surrounds pictures, sound or chapters: no picture is another for it
_HARMLESS = re.compile(
    "|".join(
        (
            r"SEI type \d+ size \d+ truncated",
            r"Unaligned SEI payload|non-existing SPS \d+ referenced in buffering period",
            r"Picture timing SEI payload too large",
            r"num_sps_ids_minus1 \d+ invalid",
            r"active_parameter_set_id \d+ invalid",
            r"mmco: unref short failure",  # who refers to a picture that is gone says so again
            r"illegal aspect ratio",
            r"time_scale/num_units_in_tick invalid",
            r"RPU validation failed",
            r"Referenced QT chapter track not found",
            r"Chapter \d+ not found",
            r"Failed to retrieve first frame",
            r"Error parsing cover art",
            r"loci too short|place name too long",
            r"Unknown (spherical metadata|projection type)",
            r"Missing (projection|spherical)",
            r"Invalid bounding rectangle",
            r"Empty (spherical|stereoscopic|Mastering Display Metadata|Content Light Level)",
            r"Invalid Mastering Display",
            r"Unknown MOV field order",
            r"aclr not decoded",
            r"Unsupported 'kind' box",
            r"incomplete attachment",
            r"Error parsing a wavpack block",
            r"Keyframe index parsing failed",
            r"AMF_DATA_TYPE_STRING parsing failed|Missing AMF_END_OF_OBJECT|unsupported amf type",
        )
    )
)
_CORRUPT_PACKET = re.compile(r"Packet corrupt \(stream = (\d+),")


class _Level:
    """Has PyAV hand on FFmpeg's log for as long as anybody listens in any thread, then as its user has set it."""

    def __init__(self) -> None:
        self._listeners, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        import av.logging

        with self._lock:
            self._listeners += 1
            if self._listeners > 1:
                return
            self._before = av.logging.get_level(), av.logging.get_skip_repeated()
            av.logging.set_level(max(self._before[0] or 0, av.logging.WARNING))
            av.logging.set_skip_repeated(False)  # it skips what another file has said before

    def __exit__(self, *_: object) -> None:
        import av.logging

        with self._lock:
            self._listeners -= 1
            if not self._listeners:
                av.logging.set_level(self._before[0])
                av.logging.set_skip_repeated(self._before[1])


_level = _Level()


class FFmpegLog:
    """What FFmpeg says of one video stream.

    Attributes:
        damage: the first message that means damage, with the name of what said it; empty where there is none.
    """

    def __init__(self) -> None:
        self.damage = ""
        self._unread: list[_Entry] = []
        self._stream = -1
        self._decoder = self._demuxer = ""
        self._strangers: frozenset[str] = frozenset()

    def attend_to(self, container: Any, stream: Any) -> None:
        """Tells which stream is meant, after the file has been opened; decoders of its other streams do not matter."""
        contexts = [other.codec_context for other in container.streams if other.codec_context is not None]
        self._decoder, self._demuxer = stream.codec_context.codec.name, container.format.name
        self._strangers = frozenset(context.codec.name for context in contexts) - {self._decoder, self._demuxer}
        self._stream = stream.index
        self._read(decoder=False, demuxer=True)

    @contextmanager
    def listening(self, decoder: bool = True, demuxer: bool = True) -> Iterator[None]:
        """Hears what is logged in this thread meanwhile.

        Args:
            decoder: heed the decoder and the parser of its packets. FFmpeg also asks them only to find out what a file
                holds, and they say the same again where its frames are decoded.
            demuxer: heed the demuxer.
        """
        with self.hearing(decoder, demuxer):
            yield

    @contextmanager
    def hearing(self, decoder: bool = True, demuxer: bool = True) -> Iterator[Callable[[], None]]:
        """As `listening`, for many steps: the function takes note of what was logged up to now."""
        import av.logging

        with _level, av.logging.Capture() as entries:

            def note() -> None:
                if entries:
                    self._unread += entries
                    entries.clear()
                    if self._stream >= 0:
                        self._read(decoder, demuxer)

            try:
                yield note
            finally:
                note()

    def each(self, items: Iterator[Item], demuxer: bool = True) -> Iterator[Item]:
        """The same items, listening while each is made."""
        while True:
            with self.listening(demuxer=demuxer):
                try:
                    item = next(items)
                except StopIteration:
                    return
            heartbeat.step()
            yield item

    def forget(self) -> None:
        """Begins anew."""
        self.damage = ""

    def _read(self, decoder: bool, demuxer: bool) -> None:
        unheeded = set(self._strangers)
        if self._decoder != self._demuxer:  # some have one name
            unheeded |= {name for name, heed in ((self._decoder, decoder), (self._demuxer, demuxer)) if not heed}
        for level, name, text in self._unread:
            if not self.damage and name not in unheeded and self._is_damage(level, text):
                self.damage = f"{name}: {' '.join(text.split())}"[:_LONGEST]
        self._unread.clear()

    def _is_damage(self, level: int, text: str) -> bool:
        import av.logging

        corrupt = _CORRUPT_PACKET.match(text)
        if corrupt is not None:
            return int(corrupt[1]) == self._stream
        if level <= av.logging.ERROR:
            return _HARMLESS.match(text) is None
        return _LOST.match(text) is not None
