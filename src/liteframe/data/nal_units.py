"""Headers of H.264 and HEVC pictures: what others refer to, and their place in the order of display.

Only what is laid out in the plain way is read; `Unread` says that something is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_HEAD_BYTES, _SET_BYTES = 24, 128
"""Bytes in which what is read of a slice's header or of a parameter set ends."""
_H264_HIGH = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


class Unread(Exception):
    """A header is damaged, or of a structure that is not read here."""


@dataclass(frozen=True)
class Picture:
    """What the header of a picture says.

    Attributes:
        fresh: numbers begin anew at it.
        referenced: others may refer to it.
        anchors: the order of those after it is told relative to its own.
        alone: its packet holds nothing that matters to other pictures.
        order: place in the order of display among those since the last fresh one, modulo `orders`; None where it is
            that of decoding.
        number: of pictures before it that may be referred to, modulo `numbers`; None where the codec has none.
    """

    fresh: bool
    referenced: bool
    anchors: bool
    alone: bool
    order: int | None
    orders: int
    number: int | None = None
    numbers: int = 1


class _Bits:
    """Reads the start of a unit bit by bit."""

    def __init__(self, data: bytes) -> None:
        payload = data.replace(b"\0\0\3", b"\0\0")  # where the third keeps the two from looking like a start code
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def take(self, count: int) -> int:
        if count > self._left:
            raise Unread
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """An unsigned number in Exp-Golomb code; signed ones are as long."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def pass_over(self, numbers: int) -> None:
        for _ in range(numbers):
            self.number()


def _units(data: bytes | memoryview, length_bytes: int) -> Iterator[int]:
    """Where the units of a packet begin, which have a length in front or (0) start codes between."""
    if not length_bytes:
        yield from (code.end() for code in re.finditer(rb"\x00\x00\x01(?=..)", data, re.DOTALL))
        return
    position = 0
    while position + length_bytes + 1 < len(data):
        yield position + length_bytes
        position += length_bytes + int.from_bytes(data[position : position + length_bytes], "big")


def _listed(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Where so many units begin, each behind two bytes of its length, from a position on; and where they end."""
    starts = []
    for _ in range(count):
        if position + 3 >= len(data):
            raise Unread
        starts.append(position + 2)
        position += 2 + int.from_bytes(data[position : position + 2], "big")
    return starts, position


def _messages(unit: bytes) -> Iterator[int]:
    """Kinds of the messages of an SEI unit, which is given without its header."""
    data, position = unit.replace(b"\0\0\3", b"\0\0"), 0
    while position + 1 < len(data):  # the last byte only ends the unit
        numbers = []
        for _ in range(2):
            more = len(data) - position - len(data[position:].lstrip(b"\xff"))
            numbers.append(255 * more + data[position + more])
            position += more + 1
        kind, size = numbers
        yield kind
        position += size


@dataclass(frozen=True)
class _Start:
    """Kinds of units at the start of a stream."""

    kind_of: Callable[[int], int]
    head_bytes: int
    pictures: frozenset[int]
    messages: int
    others: frozenset[int]


_ORIENTATION = 47
_STARTS = {
    "h264": _Start(lambda first: first & 31, 1, frozenset({5}), 6, frozenset({9, 12})),
    "hevc": _Start(lambda first: first >> 1 & 63, 2, frozenset({19, 20}), 39, frozenset({35, 38})),
}


def starts_plainly(codec: str, extradata: bytes, data: bytes) -> bool:
    """Whether a first packet is one H.264 or HEVC picture that needs no others, and no message tells how it is turned.

    False, too, where anything else is in the packet, such as parameters, or its units have no length in front.

    Args:
        codec: FFmpeg's name.
        extradata: what the container holds for the decoder.
        data: of the packet.
    """
    start = _STARTS.get(codec)
    if start is None:
        return False
    try:
        reader = H264Pictures(extradata) if codec == "h264" else HevcPictures(extradata)
        if not reader.length_bytes or reader.may_have_fields:
            return False
        units = list(_units(data, reader.length_bytes))
        kinds = {start.kind_of(data[unit]) for unit in units}
        if not kinds & start.pictures or kinds - start.pictures - start.others - {start.messages}:
            return False
        held = [(data, unit, reader.length_bytes) for unit in units]
        held += [(extradata, unit, 2) for unit in reader.listed if codec == "hevc"]
        for source, unit, length_bytes in held:
            if start.kind_of(source[unit]) == start.messages:
                end = unit + int.from_bytes(source[unit - length_bytes : unit], "big")
                if _ORIENTATION in _messages(source[unit + start.head_bytes : end]):
                    return False
    except (Unread, IndexError):
        return False
    return True


class H264Pictures:
    """Reads the pictures of a stream of H.264, of one without fields all that is in their headers.

    Args:
        extradata: what the container holds for the decoder.
        fields: allow pictures to be fields.

    Raises:
        Unread: a header is not read here.

    Attributes:
        length_bytes: of the length in front of each unit; 0 where start codes stand between them.
        listed: where the units begin that `extradata` holds.
    """

    def __init__(self, extradata: bytes, fields: bool = True) -> None:
        prefixed = len(extradata) > 6 and extradata[0] == 1
        self.length_bytes = (extradata[4] & 3) + 1 if prefixed else 0
        self._set: tuple[int, int | None, bool] | None = None
        self.listed = list(_listed(extradata, 6, extradata[5] & 31)[0] if prefixed else _units(extradata, 0))
        self._learn(extradata, self.listed)
        if self.may_have_fields and not fields:
            raise Unread

    def _learn(self, data: bytes | memoryview, starts: Iterable[int]) -> None:
        for start in starts:
            if data[start] & 31 == 7:
                found = self._parameters(bytes(data[start + 1 : start + _SET_BYTES]))
                if self._set not in (None, found):
                    raise Unread
                self._set = found

    @staticmethod
    def _parameters(unit: bytes) -> tuple[int, int | None, bool]:
        """How many bits the number of a picture has, and its order; whether there may be fields.

        The order has None where it is that of decoding.
        """
        bits = _Bits(unit)
        profile = bits.take(8)
        bits.take(16), bits.number()
        if profile in _H264_HIGH:
            if bits.number() == 3 and bits.take(1):
                raise Unread  # colours as pictures of their own
            bits.pass_over(2)
            if bits.take(2) & 1:
                raise Unread  # tables of quantisation in between, which nearly nobody uses
        number_bits, kind = bits.number() + 4, bits.number()
        if kind == 1:
            raise Unread
        order_bits = None if kind == 2 else bits.number() + 4
        bits.number(), bits.take(1), bits.number(), bits.number()
        return number_bits, order_bits, not bits.take(1)

    @property
    def may_have_fields(self) -> bool:
        """Whether pictures may be fields, of which two make a frame."""
        return self._set is not None and self._set[2]

    def is_lone_field(self, packet: Any) -> bool:
        """Whether a packet of a stream that may have fields holds one of the two of a frame.

        Raises:
            Unread: its headers are not read here.
        """
        data = memoryview(packet)
        starts = list(_units(data, self.length_bytes))
        self._learn(data, starts)
        if self._set is None:
            raise Unread
        bottoms = set()
        for start in (start for start in starts if data[start] & 31 in (1, 5)):
            bits = _Bits(bytes(data[start + 1 : start + _HEAD_BYTES]))
            bits.pass_over(3)
            bits.take(self._set[0])
            if not self.may_have_fields or not bits.take(1):
                return False
            bottoms.add(bits.take(1))
        return len(bottoms) == 1

    def read(self, packet: Any) -> Picture:
        """The picture of a packet.

        Raises:
            Unread: it has none that is read here.
        """
        data = memoryview(packet)
        starts = list(_units(data, self.length_bytes))
        self._learn(data, starts)
        kinds = {data[start] & 31 for start in starts}
        slices = [start for start in starts if data[start] & 31 in (1, 5)]
        if not slices or self._set is None or self.may_have_fields:
            raise Unread
        number_bits, order_bits, _ = self._set
        fresh, referenced = 5 in kinds, any(data[start] & 0x60 for start in slices)
        bits = _Bits(bytes(data[slices[0] + 1 : slices[0] + _HEAD_BYTES]))
        bits.pass_over(3)
        number = bits.take(number_bits)
        if fresh:
            bits.number()
        return Picture(
            fresh=fresh,
            referenced=referenced,
            anchors=referenced,
            alone=kinds <= {1, 6, 9, 12},  # slices, remarks, delimiters and filling
            order=None if order_bits is None else bits.take(order_bits),
            orders=1 << (order_bits or 0),
            number=number,
            numbers=1 << number_bits,
        )


class HevcPictures:
    """Reads the pictures of a stream of HEVC of one layer; arguments and attributes as `H264Pictures`."""

    may_have_fields = False

    def __init__(self, extradata: bytes) -> None:
        prefixed = len(extradata) > 22 and extradata[0] == 1
        self.length_bytes = (extradata[21] & 3) + 1 if prefixed else 0
        self._set: tuple[int, int] | None = None
        self._head: tuple[int, int] | None = None
        self.listed = list(self._lists(extradata) if prefixed else _units(extradata, 0))
        self._learn(extradata, self.listed)

    @staticmethod
    def _lists(extradata: bytes) -> Iterator[int]:
        position = 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[position + 1 : position + 3], "big")
            starts, position = _listed(extradata, position + 3, count)
            yield from starts

    def _learn(self, data: bytes | memoryview, starts: Iterable[int]) -> None:
        for start in starts:
            kind, unit = data[start] >> 1 & 63, bytes(data[start + 2 : start + _SET_BYTES])
            if kind == 33:
                found = self._parameters(unit)
                if self._set not in (None, found):
                    raise Unread
                self._set = found
            elif kind == 34:
                bits = _Bits(unit)
                bits.number(), bits.number(), bits.take(1)
                head = bits.take(1), bits.take(3)
                if self._head not in (None, head):
                    raise Unread
                self._head = head

    @staticmethod
    def _parameters(unit: bytes) -> tuple[int, int]:
        """How many bits are of planes of colour, in a slice, and how many the order of a picture has."""
        bits = _Bits(unit)
        bits.take(4)
        if bits.take(3):
            raise Unread  # layers of time: those above may refer to what the lowest does not
        bits.take(1), bits.take(96), bits.number()
        planes = 2 if bits.number() == 3 and bits.take(1) else 0
        bits.pass_over(2)
        if bits.take(1):
            bits.pass_over(4)
        bits.pass_over(2)
        return planes, bits.number() + 4

    def read(self, packet: Any) -> Picture:
        """As `H264Pictures.read`."""
        data = memoryview(packet)
        starts = list(_units(data, self.length_bytes))
        self._learn(data, starts)
        kinds = {data[start] >> 1 & 63 for start in starts}
        slices = [start for start in starts if data[start] >> 1 & 63 < 32]
        if not slices or self._set is None or self._head is None or any(data[start + 1] & 7 != 1 for start in slices):
            raise Unread
        (planes, order_bits), (has_output, extra) = self._set, self._head
        kind = data[slices[0]] >> 1 & 63
        bits = _Bits(bytes(data[slices[0] + 2 : slices[0] + _HEAD_BYTES]))
        if not bits.take(1):
            raise Unread  # not the first slice of a picture
        bits.take(1 if 16 <= kind <= 23 else 0), bits.number(), bits.take(extra), bits.number()
        bits.take(has_output), bits.take(planes)
        fresh = 16 <= kind <= 20
        referenced = any(kind not in (0, 2, 4, 6, 8) for kind in kinds if kind < 32)
        return Picture(
            fresh=fresh,
            referenced=referenced,
            anchors=referenced and kind not in (7, 9),
            alone=kinds - set(range(32)) <= {35, 38, 39, 40},  # delimiters, filling and remarks
            order=0 if kind in (19, 20) else bits.take(order_bits),
            orders=1 << order_bits,
        )
