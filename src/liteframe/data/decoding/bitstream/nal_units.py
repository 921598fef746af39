"""The units (NAL) that H.264 and HEVC are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator

Unit = bytes | memoryview
"""Begins with its header."""


class Unread(Exception):
    """A header is damaged, or of a structure that is not read here."""


class Bits:
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


class Units:
    """Splits data into units, as the container lays them out: with lengths in front, or start codes between.

    Args:
        codec: "h264" or "hevc".
        extradata: what the container holds for the decoder.

    Attributes:
        length_bytes: of the length in front of each unit; 0 where start codes stand between them.
        head_bytes: of a unit's header.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._is_hevc, self._extradata = codec == "hevc", extradata
        place = 21 if self._is_hevc else 4
        prefixed = len(extradata) > place + 1 and extradata[0] == 1
        self.length_bytes = (extradata[place] & 3) + 1 if prefixed else 0
        self.head_bytes = 2 if self._is_hevc else 1

    def kind(self, unit: Unit) -> int:
        """What a unit holds, by the codec's number."""
        return unit[0] >> 1 & 63 if self._is_hevc else unit[0] & 31

    def of(self, data: Unit) -> list[Unit]:
        """The units of a packet; the last one is shorter where the data are."""
        return list(_prefixed(data, self.length_bytes) if self.length_bytes else _between_codes(data))

    def of_container(self) -> list[Unit]:
        """The units that the container holds for the decoder.

        Raises:
            Unread: they are cut short.
        """
        if not self.length_bytes:
            return self.of(self._extradata)
        try:
            return list(self._lists_of_hevc() if self._is_hevc else self._lists_of_h264())
        except IndexError:
            raise Unread from None

    def _lists_of_h264(self) -> Iterator[Unit]:
        position = 5
        for mask in (31, 255):  # sequences, pictures
            count = self._extradata[position] & mask
            units, position = self._listed(position + 1, count)
            yield from units

    def _lists_of_hevc(self) -> Iterator[Unit]:
        position = 23
        for _ in range(self._extradata[22]):
            count = int.from_bytes(self._extradata[position + 1 : position + 3], "big")
            units, position = self._listed(position + 3, count)
            yield from units

    def _listed(self, position: int, count: int) -> tuple[list[Unit], int]:
        """So many units, each behind two bytes of its length, from a position on; and where they end."""
        units: list[Unit] = []
        for _ in range(count):
            end = position + 2 + int.from_bytes(self._extradata[position : position + 2], "big")
            if position + 3 >= len(self._extradata):
                raise Unread
            units.append(self._extradata[position + 2 : end])
            position = end
        return units, position


def _between_codes(data: Unit) -> Iterator[Unit]:
    starts = [code.end() for code in re.finditer(rb"\x00\x00\x01(?=..)", data, re.DOTALL)]
    yield from (data[start : end - 3] for start, end in zip(starts, [*starts[1:], len(data) + 3], strict=False))


def _prefixed(data: Unit, length_bytes: int) -> Iterator[Unit]:
    position = 0
    while position + length_bytes + 1 < len(data):
        start = position + length_bytes
        position = start + int.from_bytes(data[position:start], "big")
        if position > start:
            yield data[start:position]


def messages(unit: Unit, head_bytes: int) -> Iterator[int]:
    """Kinds of the messages of an SEI unit.

    Raises:
        IndexError: it is cut short.
    """
    data, position = bytes(unit[head_bytes:]).replace(b"\0\0\3", b"\0\0"), 0
    while position + 1 < len(data):  # the last byte only ends the unit
        numbers = []
        for _ in range(2):
            more = len(data) - position - len(data[position:].lstrip(b"\xff"))
            numbers.append(255 * more + data[position + more])
            position += more + 1
        kind, size = numbers
        yield kind
        position += size
