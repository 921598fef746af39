"""Copies of clips whose packets are changed on the way, or left out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

_TO_SAMPLE_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")


def remux(path: Path, copy: Path, change: Callable[[list[Any]], list[Any]]) -> Path:
    """A copy of the video that holds what `change` makes of its packets, in order of decoding.

    Skips the test where the container is not for this codec, or PyAV is too old.
    """
    if int(av.__version__.split(".")[0]) < 17:
        pytest.skip("this PyAV does not copy what decoders have to know")
    with av.open(str(path)) as source:
        told = source.streams.video[0]
        packets = change([packet for packet in source.demux(told) if packet.size])
        with av.open(str(copy), "w") as target:
            try:
                stream = target.add_stream_from_template(told)
            except (ValueError, av.error.FFmpegError):
                pytest.skip(f"{path.name} cannot be copied to {copy.name}")
            for packet in packets:
                packet.stream = stream
                target.mux(packet)
    return copy


def with_message(source: Path, target: Path, options: str) -> Path:
    """The H.264 of `source`, with what `options` of FFmpeg's filter of its messages put in."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream) if hasattr(after, "add_stream_from_template") else None
        copy = copy or after.add_stream(template=stream)
        messages = av.BitStreamFilterContext(f"h264_metadata={options}", stream, copy)
        for packet in before.demux(stream):
            for done in messages.filter(packet if packet.size else None):
                done.stream = copy
                after.mux(done)
    return target


def with_box(data: bytes, kind: bytes, body: bytes) -> bytes:
    """An MP4 whose table of contents is at its end, with a box more in its sample entry."""
    out, place = bytearray(data), 0
    places = [place := data.index(kind, place) - 4 for kind in _TO_SAMPLE_ENTRY]
    (size,) = struct.unpack_from(">I", data, places[-1])
    out[places[-1] + size : places[-1] + size] = struct.pack(">I4s", 8 + len(body), kind) + body
    for place in places:
        (size,) = struct.unpack_from(">I", out, place)
        struct.pack_into(">I", out, place, size + 8 + len(body))
    return bytes(out)
