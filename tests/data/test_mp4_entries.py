"""What the sample entries of MP4 files say of pictures."""

from __future__ import annotations

import struct
from pathlib import Path

import av
from painted_videos import write_video

from liteframe.data.decoding.containers.mp4_entries import dolby_vision_profile

_WAY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")


def with_box(data: bytes, kind: bytes, body: bytes) -> bytes:
    """An MP4 whose table of contents is at its end, with a box more in its sample entry."""
    out, place = bytearray(data), 0
    places = [place := data.index(kind, place) - 4 for kind in _WAY]
    (size,) = struct.unpack_from(">I", data, places[-1])
    out[places[-1] + size : places[-1] + size] = struct.pack(">I4s", 8 + len(body), kind) + body
    for place in places:
        (size,) = struct.unpack_from(">I", out, place)
        struct.pack_into(">I", out, place, size + 8 + len(body))
    return bytes(out)


def test_the_profile_of_dolby_vision(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 12)
    with path.open("rb") as file:
        assert dolby_vision_profile(file, 1) is None
    path.write_bytes(with_box(path.read_bytes(), b"dvcC", bytes([1, 0, 5 << 1, 13]) + bytes(20)))
    with path.open("rb") as file, av.open(str(path)) as container:
        assert dolby_vision_profile(file, container.streams.video[0].id) == 5
