"""Headers of H.264 and HEVC pictures: what others refer to, and their place in the order of display.

Only what is laid out in the plain way is read; `Unread` says that something is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from liteframe.data.decoding.bitstream.nal_units import Bits, Unit, Units, Unread

_HEAD_BYTES, _SET_BYTES = 24, 128
"""Bytes in which what is read of a slice's header or of a parameter set ends."""
_H264_HIGH = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


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


class H264Pictures:
    """Reads the pictures of a stream of H.264, of one without fields all that is in their headers.

    Args:
        extradata: what the container holds for the decoder.
        fields: allow pictures to be fields.

    Raises:
        Unread: a header is not read here.

    Attributes:
        units: how data are split.
    """

    def __init__(self, extradata: bytes, fields: bool = True) -> None:
        self.units = Units("h264", extradata)
        self._set: tuple[int, int | None, bool] | None = None
        self._learn(self.units.of_container())
        if self.may_have_fields and not fields:
            raise Unread

    def _learn(self, units: Iterable[Unit]) -> None:
        for unit in units:
            if unit[0] & 31 == 7:
                found = self._parameters(bytes(unit[1:_SET_BYTES]))
                if self._set not in (None, found):
                    raise Unread
                self._set = found

    @staticmethod
    def _parameters(unit: bytes) -> tuple[int, int | None, bool]:
        """How many bits the number of a picture has, and its order; whether there may be fields.

        The order has None where it is that of decoding.
        """
        bits = Bits(unit)
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
        units = self.units.of(memoryview(packet))
        self._learn(units)
        if self._set is None:
            raise Unread
        bottoms = set()
        for part in (unit for unit in units if unit[0] & 31 in (1, 5)):
            bits = Bits(bytes(part[1:_HEAD_BYTES]))
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
        units = self.units.of(memoryview(packet))
        self._learn(units)
        kinds = {unit[0] & 31 for unit in units}
        slices = [unit for unit in units if unit[0] & 31 in (1, 5)]
        if not slices or self._set is None or self.may_have_fields:
            raise Unread
        number_bits, order_bits, _ = self._set
        fresh, referenced = 5 in kinds, any(unit[0] & 0x60 for unit in slices)
        bits = Bits(bytes(slices[0][1:_HEAD_BYTES]))
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
        self.units = Units("hevc", extradata)
        self._set: tuple[int, int] | None = None
        self._head: tuple[int, int] | None = None
        self._learn(self.units.of_container())

    def _learn(self, units: Iterable[Unit]) -> None:
        for unit in units:
            kind = unit[0] >> 1 & 63
            if kind == 33:
                found = self._parameters(bytes(unit[2:_SET_BYTES]))
                if self._set not in (None, found):
                    raise Unread
                self._set = found
            elif kind == 34:
                bits = Bits(bytes(unit[2:_SET_BYTES]))
                bits.number(), bits.number(), bits.take(1)
                head = bits.take(1), bits.take(3)
                if self._head not in (None, head):
                    raise Unread
                self._head = head

    @staticmethod
    def _parameters(unit: bytes) -> tuple[int, int]:
        """How many bits are of planes of colour, in a slice, and how many the order of a picture has."""
        bits = Bits(unit)
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
        units = self.units.of(memoryview(packet))
        self._learn(units)
        kinds = {unit[0] >> 1 & 63 for unit in units}
        slices = [unit for unit in units if unit[0] >> 1 & 63 < 32 and len(unit) > 1]
        if not slices or self._set is None or self._head is None or any(unit[1] & 7 != 1 for unit in slices):
            raise Unread
        (planes, order_bits), (has_output, extra) = self._set, self._head
        kind = slices[0][0] >> 1 & 63
        bits = Bits(bytes(slices[0][2:_HEAD_BYTES]))
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
