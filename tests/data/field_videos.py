"""H.264 whose pictures are coded as two fields, which no encoder at hand writes: uncompressed, field by field."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from painted_videos import SIZE, picture

_GROUP = 12
_CLOCK, _FRAME, _FIELD = 90_000, 3_600, 1_800


class _Writer:
    """Bits of a unit."""

    def __init__(self) -> None:
        self.bits = ""

    def fixed(self, *pairs: tuple[int, int]) -> _Writer:
        """Numbers of a width each: (width, value)."""
        self.bits += "".join(f"{value:0{width}b}" for width, value in pairs)
        return self

    def number(self, *values: int) -> _Writer:
        """Exp-Golomb codes."""
        for value in values:
            digits = f"{value + 1:b}"
            self.bits += "0" * (len(digits) - 1) + digits
        return self

    def align(self) -> _Writer:
        self.bits += "0" * (-len(self.bits) % 8)
        return self

    def unit(self, head: int) -> bytes:
        self.fixed((1, 1)).align()
        body, zeros = bytearray(), 0
        for byte in (int(self.bits[at : at + 8], 2) for at in range(0, len(self.bits), 8)):
            if zeros >= 2 and byte <= 3:
                body.append(3)
                zeros = 0
            body.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([head]) + bytes(body)


def _parameters() -> bytes:
    sequence = _Writer().fixed((8, 77), (8, 0), (8, 30)).number(0, 4, 0, 4, 2).fixed((1, 0)).number(3, 1)
    sequence.fixed((1, 0), (1, 0), (1, 1), (1, 0), (1, 1))  # fields are allowed
    sequence.fixed((4, 0), (1, 1), (32, 1), (32, 50), (1, 1), (2, 0), (1, 1), (1, 0))
    pictures = _Writer().number(0, 0).fixed((1, 0), (1, 1)).number(0, 0, 0).fixed((3, 0)).number(0, 0, 0).fixed((3, 0))
    return sequence.unit(0x67) + pictures.unit(0x68)


def _field(planes: list[np.ndarray], number: int, bottom: int, fresh: bool) -> bytes:
    luma, *chroma = (plane[bottom::2] for plane in planes)
    writer = _Writer().number(0, 7, 0).fixed((8, number), (1, 1), (1, bottom))
    if fresh:
        writer.number(0)
    writer.fixed((8, 2 * number + bottom), (2 if fresh else 1, 0)).number(0)
    for row in range(SIZE // 32):
        for column in range(SIZE // 16):
            writer.number(25).align()
            for plane, side in ((luma, 16), (chroma[0], 8), (chroma[1], 8)):
                block = plane[row * side : (row + 1) * side, column * side : (column + 1) * side]
                writer.fixed(*((8, int(value)) for value in block.ravel()))
    return writer.unit(0x65 if fresh else 0x21)


def write_fields(path: Path, frames: int, apart: bool) -> Path:
    """A painted video at 25 frames a second, each of two fields, in a packet each where they lie `apart`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, _CLOCK)
        for index in range(frames):
            flat = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format="yuv420p").to_ndarray()
            planes = [flat[:SIZE], *(part.reshape(SIZE // 2, -1) for part in np.split(flat[SIZE:], 2))]
            number, fresh = index % _GROUP, index % _GROUP == 0
            fields = [_field(planes, number, bottom, fresh and not bottom) for bottom in (0, 1)]
            delimiter = b"\0\0\0\1\x09\x10"
            parts = [delimiter + (_parameters() if fresh else b"") + fields[0], delimiter + fields[1]]
            for place, data in enumerate(parts if apart else [b"".join(parts)]):
                packet = av.Packet(data)
                packet.pts = packet.dts = _CLOCK + index * _FRAME + place * _FIELD
                packet.time_base, packet.is_keyframe = Fraction(1, _CLOCK), fresh and not place
                packet.stream = stream
                container.mux(packet)
    return path
