"""Which packets hold pictures that no other picture refers to, so that a reader may leave them undecoded.

Leaving one out that others do refer to gives wrong frames without a word: FFmpeg's H.264 decoder takes an earlier
picture instead. So packets are judged by what the standard says of their kind, and each codec has a second sign by
which one that was misjudged, as its header is damaged, is found out before the next frame is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Misjudged(Exception):
    """What was left out may have been referred to, or packets are missing."""


class Finder(Protocol):
    """Told every packet from a key frame on, in order of decoding: whether its picture may be left out.

    Attributes:
        at_once: a packet holds a whole picture, so that a decoder can be asked for it before the next one.
    """

    at_once: bool

    def __call__(self, packet: Any) -> bool: ...


def unreferenced_finder(stream: Any) -> Finder | None:
    """A test of the packets of one stream from a key frame on; None for codecs and structures that none is proven for.

    The test raises `Misjudged` where a packet shows that one before it should have been decoded.
    """
    kind = _KINDS.get(stream.codec_context.codec.canonical_name)
    try:
        return kind(bytes(stream.codec_context.extradata or b"")) if kind else None
    except (Misjudged, IndexError):  # a header cut short
        return None


class _Bits:
    """Reads the start of a H.264 unit behind its header, bit by bit."""

    def __init__(self, data: bytes) -> None:
        payload = data.replace(b"\0\0\3", b"\0\0")  # where the third keeps the two from looking like a start code
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def take(self, count: int) -> int:
        if count > self._left:
            raise Misjudged
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """An unsigned number in Exp-Golomb code; signed ones are as long."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _units(data: bytes | memoryview, length_bytes: int) -> Iterator[int]:
    """Where the units of a packet begin, which have a length in front or (0) start codes between."""
    if not length_bytes:
        yield from (code.end() for code in re.finditer(rb"\x00\x00\x01(?=.)", data, re.DOTALL))
        return
    position = 0
    while position + length_bytes < len(data):
        yield position + length_bytes
        position += length_bytes + int.from_bytes(data[position : position + length_bytes], "big")


class _H264:
    """Pictures whose slices all have a nal_ref_idc of 0, in streams without fields.

    frame_num counts the pictures that others may refer to; where it does not go on by one after each of them, one was
    left out or is missing.
    """

    at_once = True
    _HIGH = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
    _HEAD, _PARAMETER_SET = 24, 64
    """Bytes in which what is read of a slice's header or a parameter set ends."""

    def __init__(self, extradata: bytes) -> None:
        prefixed = len(extradata) > 6 and extradata[0] == 1
        self._length_bytes, self._number_bits = (extradata[4] & 3) + 1 if prefixed else 0, 0
        self._next: int | None = None
        starts = self._listed(extradata) if prefixed else _units(extradata, 0)
        for start in starts:
            if extradata[start] & 31 == 7:
                self._learn(extradata[start : start + self._PARAMETER_SET])

    @staticmethod
    def _listed(extradata: bytes) -> Iterator[int]:
        position = 6
        for _ in range(extradata[5] & 31):
            if position + 2 < len(extradata):
                yield position + 2
            position += 2 + int.from_bytes(extradata[position : position + 2], "big")

    def _learn(self, unit: bytes) -> None:
        """How many bits frame_num has, by a sequence parameter set."""
        bits = _Bits(unit[1:])
        profile = bits.take(8)
        bits.take(16), bits.number()
        if profile in self._HIGH:
            if bits.number() == 3 and bits.take(1):
                raise Misjudged  # colours as pictures of their own
            bits.number(), bits.number()
            if bits.take(2) & 1:
                raise Misjudged  # tables of quantisation in between, which nobody uses
        number_bits = bits.number() + 4
        order = bits.number()
        if order == 0:
            bits.number()
        elif order == 1:
            bits.take(1), bits.number(), bits.number()
            for _ in range(bits.number()):
                bits.number()
        bits.number(), bits.take(1), bits.number(), bits.number()
        if not bits.take(1) or self._number_bits not in (0, number_bits):
            raise Misjudged  # fields, or sets that differ
        self._number_bits = number_bits

    def __call__(self, packet: Any) -> bool:
        data = memoryview(packet)
        starts = list(_units(data, self._length_bytes))
        kinds = {data[start] & 31 for start in starts}
        for start in starts:
            if data[start] & 31 == 7:
                self._learn(bytes(data[start : start + self._PARAMETER_SET]))
        slices = [start for start in starts if data[start] & 31 in (1, 5)]
        if not slices or not self._number_bits:
            raise Misjudged
        referenced, number = any(data[start] & 0x60 for start in slices), self._number(data, slices[0])
        if self._next is not None and 5 not in kinds and number != self._next:
            raise Misjudged
        self._next = number + referenced & (1 << self._number_bits) - 1
        return not referenced and kinds <= {1, 6, 9, 12}  # slices, remarks, delimiters and filling

    def _number(self, data: memoryview, start: int) -> int:
        bits = _Bits(bytes(data[start + 1 : start + self._HEAD]))
        bits.number(), bits.number(), bits.number()
        return bits.take(self._number_bits)


class _Hevc:
    """Pictures of the highest layer of time that are not for reference in it.

    Each picture lists those that have to be there, so the decoder itself complains where one of them is not.
    """

    at_once = True

    def __init__(self, extradata: bytes) -> None:
        prefixed = len(extradata) > 22 and extradata[0] == 1
        self._length_bytes, self._highest = (extradata[21] & 3) + 1 if prefixed else 0, 0
        self._learn(extradata, self._listed(extradata) if prefixed else _units(extradata, 0))

    @staticmethod
    def _listed(extradata: bytes) -> Iterator[int]:
        position = 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[position + 1 : position + 3], "big")
            position += 3
            for _ in range(count):
                if position + 2 < len(extradata):
                    yield position + 2
                position += 2 + int.from_bytes(extradata[position : position + 2], "big")

    def _learn(self, data: bytes | memoryview, starts: Iterator[int]) -> None:
        for start in starts:
            if data[start] >> 1 & 63 == 33 and start + 2 < len(data):
                self._highest = max(self._highest, data[start + 2] >> 1 & 7)

    def __call__(self, packet: Any) -> bool:
        data = memoryview(packet)
        starts = [start for start in _units(data, self._length_bytes) if start + 1 < len(data)]
        self._learn(data, iter(starts))
        slices = [start for start in starts if data[start] >> 1 & 63 < 32]
        others = {data[start] >> 1 & 63 for start in starts} - {data[start] >> 1 & 63 for start in slices}
        return (
            bool(slices)
            and others <= {35, 38, 39, 40}  # delimiters, filling and remarks
            and all(
                data[start] >> 1 & 63 in (0, 2, 4, 6, 8) and (data[start + 1] & 7) - 1 >= self._highest
                for start in slices
            )
        )


class _Bidirectional:
    """Pictures that are called B by their header and are shown before one that was decoded earlier."""

    at_once = False  # a packet may hold one field of two

    def __init__(self, _: bytes) -> None:
        self._latest: int | None = None

    def __call__(self, packet: Any) -> bool:
        before = self._latest
        if packet.pts is None:
            raise Misjudged
        if before is not None and packet.pts < before:
            return self._is_plain_b(bytes(packet))
        self._latest = packet.pts
        return False

    def _is_plain_b(self, data: bytes) -> bool:
        raise NotImplementedError


class _Mpeg2(_Bidirectional):
    def _is_plain_b(self, data: bytes) -> bool:
        pictures = re.findall(rb"\x00\x00\x01\x00.(.)", data, re.DOTALL)
        structures = re.findall(rb"\x00\x00\x01\xb5[\x80-\x8f].(.)", data, re.DOTALL)
        return (
            len(pictures) == 1
            and pictures[0][0] >> 3 & 7 == 3
            and all(structure[0] & 3 == 3 for structure in structures)  # whole pictures, not fields
            # headers of sequences and groups, and tables of quantisation, hold for pictures to come
            and re.search(rb"\x00\x00\x01(?:[\xb3\xb8]|\xb5[\x30-\x3f])", data) is None
        )


class _Mpeg4(_Bidirectional):
    def _is_plain_b(self, data: bytes) -> bool:
        codes = re.findall(rb"\x00\x00\x01(.)(.)", data, re.DOTALL)
        pictures = [kind for code, kind in codes if code == b"\xb6"]
        return len(pictures) == 1 and pictures[0][0] >> 6 == 2 and all(code in b"\xb2\xb6" for code, _ in codes)


_KINDS: dict[str, Callable[[bytes], Finder]] = {
    "h264": _H264,
    "hevc": _Hevc,
    "mpeg1video": _Mpeg2,
    "mpeg2video": _Mpeg2,
    "mpeg4": _Mpeg4,
}
PROVEN = frozenset(_KINDS)
"""Codecs for which tests have shown that frames are the same with and without what is left out."""
