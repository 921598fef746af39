"""Recordings that begin within a group of pictures, pictures of two fields or of several layers: what players show."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from field_videos import write_fields
from painted_videos import SIZE, number_of, picture, write_video
from remuxed_videos import remux

from liteframe.data.checking.probe import check_video
from liteframe.data.decoding.decode import frame_times, probe, read_frames
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.errors import DecodeError

_GROUP = 12
CODECS: dict[str, dict[str, Any]] = {
    "h264": {"options": {"g": "12", "bf": "2", "sc_threshold": "0"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "keyint=12:min-keyint=12:log-level=none:pools=1"}},
    "mpeg4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg2": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "vp8": {"codec": "libvpx", "options": {"g": "12", "deadline": "realtime"}},
    "vp9": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime"}},
}


@pytest.mark.parametrize("codec, ending", [*((codec, "mkv") for codec in CODECS), ("h264", "ts"), ("hevc", "ts")])
def test_a_recording_that_begins_within_a_group_begins_at_its_first_key_frame(
    tmp_path: Path, codec: str, ending: str
) -> None:
    if CODECS[codec].get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for it")
    whole = write_video(tmp_path / "whole.mkv", 40, **CODECS[codec])
    path = str(remux(whole, tmp_path / f"cut.{ending}", lambda packets: packets[5:]))
    info = probe(path)
    assert info.frames == 40 - _GROUP
    indices = [0, 1, 5, info.frames - 1]
    assert [number_of(frame) for frame in read_frames(path, indices)] == [_GROUP + index for index in indices]
    assert frame_times(path)[-1] == pytest.approx((info.frames - 1) / 25, abs=2e-3)
    row = check_video(path)
    assert row.ok and row.frames == info.frames and "before a key frame, cannot be shown" in row.reason
    assert "cannot be shown" not in check_video(str(whole)).reason


def test_damage_behind_the_first_frame_is_no_beginning_within_a_group(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", 40, **CODECS["h264"])
    path = remux(whole, tmp_path / "cut.mkv", lambda packets: packets[5:])
    data = bytearray(path.read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="damaged"):
        list(frames_in_order(str(path)))


@pytest.mark.parametrize("name, apart", [("apart.ts", True), ("together.ts", False), ("together.mkv", False)])
def test_two_fields_are_one_frame(tmp_path: Path, name: str, apart: bool) -> None:
    path = str(write_fields(tmp_path / name, 30, apart))
    info = probe(path)
    assert (info.frames, info.fps) == (30, pytest.approx(25))
    assert [number_of(frame) for frame in read_frames(path, [0, 7, 29])] == [0, 7, 29]
    np.testing.assert_allclose(frame_times(path), np.arange(30) / 25, atol=1e-3)


def _vp9_pictures(side: int, count: int) -> list[bytes]:
    encoder = av.CodecContext.create("libvpx-vp9", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = side
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"lag-in-frames": "0", "crf": "10", "b": "0", "g": "1"}
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(side, side, "yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    return [bytes(packet) for packet in [*packets, *encoder.encode(None)]]


def test_of_layers_in_one_packet_the_highest_is_the_picture(tmp_path: Path) -> None:
    if "libvpx-vp9" not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for it")
    path = tmp_path / "layers.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number, (low, high) in enumerate(zip(_vp9_pictures(SIZE // 2, 12), _vp9_pictures(SIZE, 12), strict=True)):
            marker = bytes([0b110_11_001])  # of a superframe: two frames, sizes of four bytes
            packet = av.Packet(low + high + marker + struct.pack("<II", len(low), len(high)) + marker)
            packet.pts = packet.dts = number
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 25), True, stream
            container.mux(packet)
    info = probe(str(path))
    assert (info.frames, info.width, info.height) == (12, SIZE, SIZE)
    assert [number_of(frame) for frame in read_frames(str(path), range(12))] == list(range(12))
    assert read_frames(str(path), [3, 9]).shape == (2, SIZE, SIZE, 3)
