"""Streams that change their parameters on the way: single frames are those of reading in order, wherever they lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hostile_videos import rewrite
from painted_videos import write_video
from remuxed_videos import remux

from liteframe.data.decoding.bitstream.nal_units import Units
from liteframe.data.decoding.bitstream.parameter_sets import ParameterSets
from liteframe.data.decoding.decode import forget_scans, read_frames
from liteframe.data.decoding.pyav.in_order import frames_in_order

_HALF = 24
_STBL = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_H264 = "keyint=8:min-keyint=8:bframes=2:scenecut=0:cabac=0"
_HEVC = "keyint=8:min-keyint=8:log-level=none:pools=1"
HALVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "h264": (
        {"options": {"x264-params": f"{_H264}:qp=12"}},
        {"options": {"x264-params": f"{_H264}:qp=32"}},
    ),
    "hevc": (
        {"codec": "libx265", "options": {"x265-params": f"{_HEVC}:deblock=-6,-6"}},
        {"codec": "libx265", "options": {"x265-params": f"{_HEVC}:deblock=6,6"}},
    ),
    "mpeg4": (
        {"codec": "mpeg4", "options": {"g": "8", "mpeg_quant": "0", "qscale": "9"}},
        {"codec": "mpeg4", "options": {"g": "8", "mpeg_quant": "1", "qscale": "9"}},
    ),
}


def write_half(path: Path, codec: str, number: int) -> Path:
    settings = HALVES[codec][number]
    if settings.get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for it")
    return write_video(path, _HALF, **settings)


def packets_of(path: Path) -> tuple[list[Any], bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [packet for packet in container.demux(stream) if packet.size], bytes(
            stream.codec_context.extradata or b""
        )


def told_in_band(codec: str, extradata: bytes) -> bytes:
    """What a container holds for the decoder, as it stands in a packet."""
    if codec == "mpeg4":
        return extradata
    units = [bytes(unit) for unit in Units(codec, extradata).of_container()]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def joined(folder: Path, codec: str, ending: str, in_band: Callable[[int], bool]) -> Path:
    """Two recordings one after the other; the second has its parameters in those of its key packets."""
    first = write_half(folder / "first.mp4", codec, 0)
    second, extradata = packets_of(write_half(folder / "second.mp4", codec, 1))

    def change(packets: list[Any]) -> list[Any]:
        step = max(packet.pts for packet in packets) + packets[0].duration
        keys = 0
        for packet in second:
            data = bytes(packet)
            if packet.is_keyframe:
                data = (told_in_band(codec, extradata) if in_band(keys) else b"") + data
                keys += 1
            moved = av.Packet(data)
            moved.pts, moved.dts = packet.pts + step, packet.dts + step
            moved.time_base, moved.is_keyframe = packet.time_base, packet.is_keyframe
            packets.append(moved)
        return packets

    return remux(first, folder / f"joined.{ending}", change)


def require_same_as_in_order(path: Path) -> None:
    expected = np.stack([frame.to_ndarray(format="rgb24") for frame in frames_in_order(str(path))])
    for index in range(0, len(expected), 5):
        forget_scans()
        np.testing.assert_array_equal(read_frames(str(path), [index])[0], expected[index], f"frame {index}")


@pytest.mark.parametrize("ending", ["mkv", "mp4"])
@pytest.mark.parametrize("codec", HALVES)
def test_parameters_that_are_told_once_on_the_way(tmp_path: Path, codec: str, ending: str) -> None:
    path = joined(tmp_path, codec, ending, lambda key: key == 0)
    require_same_as_in_order(path)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_parameters_that_are_told_at_each_key_frame_are_sought(tmp_path: Path, codec: str) -> None:
    path = joined(tmp_path, codec, "mkv", lambda key: True)
    require_same_as_in_order(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        sets = ParameterSets(stream)
        assert all(sets.are_known_at(packet) for packet in container.demux(stream) if packet.size)


def test_two_descriptions_of_samples_in_one_track(tmp_path: Path) -> None:
    first, second = (write_half(tmp_path / f"{number}.mp4", "h264", number) for number in (0, 1))
    path = joined(tmp_path, "h264", "mp4", lambda key: False)
    data = path.read_bytes()
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    entries = [one[one.index(b"stsd") + 12 :][: _entry_size(one)] for one in (first.read_bytes(), second.read_bytes())]
    data = rewrite(data, (*_STBL, b"stsd"), struct.pack(">II", 0, 2) + b"".join(entries))
    data = rewrite(data, (*_STBL, b"stsc"), struct.pack(">II6I", 0, 2, 1, _HALF, 1, 2, _HALF, 2))
    data = rewrite(data, (*_STBL, b"stco"), struct.pack(">II2I", 0, 2, starts[0], starts[_HALF]))
    path.write_bytes(data)
    require_same_as_in_order(path)


def _entry_size(data: bytes) -> int:
    start = data.index(b"stsd") + 12
    return int.from_bytes(data[start : start + 4], "big")


def test_a_second_sequence_header_in_flv(tmp_path: Path) -> None:
    parts = [write_half(tmp_path / f"{number}.flv", "h264", number).read_bytes() for number in (0, 1)]
    out, base = parts[0][:13], 0
    for data in parts:
        position, last = 13, 0
        while position + 11 <= len(data):
            size = int.from_bytes(data[position + 1 : position + 4], "big")
            time = int.from_bytes(data[position + 4 : position + 7], "big")
            tag = data[position : position + 11 + size]
            if tag[0] == 9 and tag[12] != 2:  # video, and not the mark of the end
                last = max(last, time)
                out += tag[:4] + (time + base).to_bytes(3, "big") + tag[7:] + struct.pack(">I", len(tag))
            position += 11 + size + 4
        base += last + 40
    path = tmp_path / "joined.flv"
    path.write_bytes(out)
    require_same_as_in_order(path)


def test_an_encoder_whose_mistakes_are_made_good(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=8:bframes=2:scenecut=0:qp=0:cabac=0"}
    path = write_video(tmp_path / "a.mp4", 2 * _HALF, options=options, pixel_format="yuv444p")
    data = path.read_bytes()
    start = data.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(data[:start] + b"148" + data[start + 3 :])
    require_same_as_in_order(path)


def _stream(codec: str, extradata: bytes) -> Any:
    context = SimpleNamespace(
        extradata=extradata,
        format=SimpleNamespace(name="yuv420p"),
        codec=SimpleNamespace(canonical_name=codec, name=codec),
    )
    return SimpleNamespace(codec_context=context, container=SimpleNamespace(format=SimpleNamespace(name="mpegts")))


def test_sequence_headers_of_mpeg_2() -> None:
    told, other = b"\0\0\1\xb3one", b"\0\0\1\xb3two"
    matrices, of_picture = b"\0\0\1\xb5\x31", b"\0\0\1\xb5\x8f"
    picture = b"\0\0\1\0\x0f"
    sets = ParameterSets(_stream("mpeg2video", told))
    assert sets.are_known_in(told + picture, True) and sets.are_known_in(picture + of_picture, True)
    assert sets.are_known_in(other + picture, True), "it says it itself"
    assert sets.are_known_in(picture, False) and not sets.are_known_in(picture, True), "then it was said before"
    assert sets.are_known_in(told + picture, True) and sets.are_known_in(picture, True)
    assert sets.are_known_in(picture + matrices, False) and not sets.are_known_in(picture, True)
