"""Whether a decoder that begins at a key frame knows what one that began at the start of the file has been told.

The container tells decoders the parameters of a stream, and the stream may change them on the way. Without a word,
FFmpeg decodes by those of the container what needs others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from liteframe.data.decoding.bitstream.nal_units import Bits, Unit, Units, Unread
from liteframe.data.decoding.pyav_versions import brings_parameters, codec_of, pixel_format_of

_FIRST_RIGHT_X264 = 151
_X264 = re.compile(rb"x264 - core (\d{1,4})")
_H264_KINDS, _HEVC_KINDS = frozenset({7, 8, 13, 15}), frozenset({32, 33, 34})
_SEQUENCE, _EXTENSION, _OF_SEQUENCES = 0xB3, 0xB5, (1, 2, 3)
_CODES = {
    "mpeg1video": frozenset({_SEQUENCE}),
    "mpeg2video": frozenset({_SEQUENCE, _EXTENSION}),
    "mpeg4": frozenset({*range(0x20, 0x30), 0xB2}),  # with the encoder's name, as its mistakes are made good
    "vc1": frozenset({0x0E, 0x0F}),
}

_Sets = dict[object, bytes]
"""Parameter sets by what a later one of them replaces."""


class ParameterSets:
    """Told the packets of a video in order, at least those of its key frames.

    Args:
        stream: of the file, just opened.
    """

    def __init__(self, stream: Any) -> None:
        context, codec = stream.codec_context, codec_of(stream)
        extradata = bytes(context.extradata or b"")
        self._container = stream.container.format.name
        self._sets_of: Callable[[bytes | None], _Sets] | None = None
        if codec in ("h264", "hevc"):
            self._sets_of = _Numbered(codec, extradata)
        elif codec in _CODES:
            self._sets_of = _Coded(_CODES[codec], extradata)
        self._makes_good = codec == "h264" and "444" in pixel_format_of(context)
        self._told: _Sets | None = None
        self._in_force: _Sets = {}

    def are_known_at(self, packet: Any) -> bool:
        """Whether decoding may begin at a packet, if it is a key frame, as well as at the start."""
        return not brings_parameters(packet, self._container) and self.are_known_in(bytes(packet), packet.is_keyframe)

    def are_known_in(self, data: bytes, key: bool) -> bool:
        """As `are_known_at`, of a packet's data or as much of them as stands before its picture."""
        if self._sets_of is None:
            return True
        if self._makes_good and (found := _X264.search(data)) and int(found[1]) < _FIRST_RIGHT_X264:
            return False  # what that x264 did wrong FFmpeg makes good where it has seen its name
        try:
            if self._told is None:
                self._told = self._sets_of(None)
                self._in_force = dict(self._told)
            own = self._sets_of(data)
        except (Unread, IndexError):
            return False
        self._in_force.update(own)
        return not key or {**self._told, **own} == self._in_force


class _Numbered:
    """Sets of H.264 and HEVC, by their kind and the number that they give themselves."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._units = Units(codec, extradata)
        self._kinds = _H264_KINDS if codec == "h264" else _HEVC_KINDS

    def __call__(self, data: bytes | None) -> _Sets:
        units = self._units.of_container() if data is None else self._units.of(data)
        sets = [unit for unit in units if self._units.kind(unit) in self._kinds]
        return {self._name(unit): bytes(unit).rstrip(b"\0") for unit in sets}

    def _name(self, unit: Unit) -> object:
        kind, bits = self._units.kind(unit), Bits(bytes(unit[self._units.head_bytes :][:32]))
        if kind in (7, 15):
            bits.take(24)
        elif kind == 32:
            return kind, bits.take(4)
        elif kind == 33:
            bits.take(4)
            if bits.take(3):
                raise Unread  # its number stands behind what is told of each layer of time
            bits.take(1), bits.take(96)
        return kind, bits.number()


class _Coded:
    """Sets of codecs with start codes, by the code."""

    def __init__(self, codes: frozenset[int], extradata: bytes) -> None:
        self._codes, self._extradata = codes, extradata

    def __call__(self, data: bytes | None) -> _Sets:
        data = self._extradata if data is None else data
        starts = [found.end() for found in re.finditer(rb"\x00\x00\x01(?=..)", data, re.DOTALL)]
        units = [data[start : end - 3] for start, end in zip(starts, [*starts[1:], len(data) + 3], strict=False)]
        return {self._name(unit): unit.rstrip(b"\0") for unit in units if self._is_wanted(unit)}

    def _is_wanted(self, unit: bytes) -> bool:
        return unit[0] in self._codes and (unit[0] != _EXTENSION or unit[1] >> 4 in _OF_SEQUENCES)

    @staticmethod
    def _name(unit: bytes) -> object:
        return (unit[0], unit[1] >> 4) if unit[0] == _EXTENSION else unit[0]
