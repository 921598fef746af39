"""Times where a container tells only when frames are decoded, and the start of files that were cut by copying."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import SIZE, number_of, picture, write_video
from remuxed_videos import remux

from liteframe.data.checking.probe import check_video
from liteframe.data.decoding.decode import forget_scans, frame_times, probe, read_frames

_B = {"g": "12", "bf": "2", "b_strategy": "0", "sc_threshold": "1000000000"}
_OPEN = {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}


def from_second_key(packets: list[Any]) -> list[Any]:
    """Packets of a cut, whose first leading pictures refer to others that are gone."""
    packets = packets[[place for place, packet in enumerate(packets) if packet.is_keyframe][1] :]
    begin = packets[0].dts
    for packet in packets:
        packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
    return packets


def first_number(path: Path) -> int:
    """Of the first frame that a decoder gives."""
    with av.open(str(path)) as container:
        return number_of(next(container.decode(video=0)).to_ndarray(format="rgb24"))


def require_even(path: Path, frames: int, first: int) -> None:
    np.testing.assert_allclose(frame_times(str(path)), np.arange(frames) / 25, atol=2e-3)
    for index in (frames - 1, 5, 0):
        forget_scans()  # each finds out anew what the file holds
        assert probe(str(path)).frames == frames
        assert [number_of(frame) for frame in read_frames(str(path), [index])] == [first + index]


@pytest.mark.parametrize("name", ["a.avi", "a.wmv"])
def test_pictures_that_a_cut_lost_leave_no_gap(tmp_path: Path, name: str) -> None:
    whole = write_video(tmp_path / "whole.ts", 60, options=_OPEN)
    path = remux(whole, tmp_path / name, from_second_key)
    require_even(path, 60 - first_number(path), first_number(path))


@pytest.mark.parametrize("name", ["a.avi", "a.wmv"])
def test_a_hasty_start_of_copied_packets(tmp_path: Path, name: str) -> None:
    def hasten(packets: list[Any]) -> list[Any]:
        for place, packet in enumerate(packets):
            packet.pts = packet.dts = 40 * place - (40 if place > 2 else 20 * place)
        return packets

    whole = write_video(tmp_path / "whole.mkv", 40, codec="mpeg1video", options={"g": "12", "bf": "2"})
    require_even(remux(whole, tmp_path / name, hasten), 40, 0)


def test_a_fast_start_of_pictures_in_order_is_left(tmp_path: Path) -> None:
    times = [*range(0, 80, 20), *range(80, 1600, 40)]
    path = write_video(tmp_path / "a.wmv", len(times), codec="wmv2", times=times)
    np.testing.assert_allclose(frame_times(str(path)), np.array(times) / 1000, atol=2e-3)


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_leading_pictures_whose_times_a_writer_made_ascend(tmp_path: Path, codec: str) -> None:
    def cut(packets: list[Any]) -> list[Any]:
        packets = from_second_key(packets)
        for place in (1, 2):
            packets[place].pts = packets[place].dts = packets[0].pts + place
        for packet in packets[3:]:
            packet.pts, packet.dts = packet.pts + 40, packet.dts + 40
        return packets

    whole = write_video(tmp_path / "whole.mkv", 48, codec=codec, options=_B)
    path = remux(whole, tmp_path / "a.mkv", cut)
    numbers = [number_of(frame) for frame in read_frames(str(path), range(probe(str(path)).frames))]
    assert numbers == list(range(numbers[0], 48))
    for index in (len(numbers) - 1, 7):
        forget_scans()
        assert [number_of(frame) for frame in read_frames(str(path), [index])] == [numbers[index]]


def write_grey(path: Path, codec: str, width: int, height: int, frames: int, options: dict[str, str]) -> Path:
    """A video of a size that a codec or container asks for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 10 * number, np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_an_end_of_sequence_is_no_frame(tmp_path: Path) -> None:
    path = write_grey(tmp_path / "a.ts", "vc2", 128, 128, 12, {"b": "20000000"})
    assert probe(str(path)).frames == 12


def test_times_of_gxf_are_those_of_its_fields(tmp_path: Path) -> None:
    path = write_grey(tmp_path / "a.gxf", "mpeg2video", 720, 576, 20, {"g": "12", "bf": "2"})
    np.testing.assert_allclose(frame_times(str(path)), np.arange(20) / 25, atol=1e-4)


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(24000, 1001), Fraction(30000, 1001)])
@pytest.mark.parametrize("name, codec", [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.m4v", "mpeg4")])
def test_a_stream_without_a_container_tells_its_rate_itself(
    tmp_path: Path, name: str, codec: str, rate: Fraction
) -> None:
    with av.open(str(tmp_path / name), "w", format=name[2:]) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(str(tmp_path / name)).fps == pytest.approx(float(rate))
    np.testing.assert_allclose(frame_times(str(tmp_path / name)), np.arange(6) / float(rate), atol=1e-3)
    assert "rate" not in check_video(str(tmp_path / name)).reason


def test_a_stream_that_tells_no_rate_is_remarked_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mjpeg", 4, codec="mjpeg", pixel_format="yuvj420p")
    assert "it tells no frame rate, so 25 frames a second are assumed" in check_video(str(path)).reason


@pytest.mark.parametrize("name, codec", [("a.mpg", "mpeg2video"), ("a.ts", "libx264")])
def test_parts_whose_clock_begins_anew_follow_each_other(tmp_path: Path, name: str, codec: str) -> None:
    """FFmpeg takes a clock that goes back by more than a minute for one of 33 bits that is full: 26 hours later."""

    def ten_minutes_later(packets: list[Any]) -> list[Any]:
        for packet in packets:
            packet.pts, packet.dts = (round(time + 600 / packet.time_base) for time in (packet.pts, packet.dts))
        return packets

    early = write_video(tmp_path / f"early{name}", 20, codec=codec)
    parts = [remux(early, tmp_path / f"late{name}", ten_minutes_later), early]
    joined, wide = tmp_path / name, tmp_path / f"wide{name}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    np.testing.assert_allclose(frame_times(str(joined)), np.arange(40) / 25, atol=0.05)
    assert [number_of(frame) for frame in read_frames(str(joined), range(15, 25))] == [*range(15, 20), *range(5)]
    assert "clock" not in check_video(str(joined)).reason
    wide.write_bytes(b"".join(part.read_bytes() for part in reversed(parts)))
    assert "its clock jumps ahead by 59" in check_video(str(wide)).reason


def test_a_clock_of_33_bits_that_is_full_goes_on(tmp_path: Path) -> None:
    full_ms = round((1 << 33) / 90)
    path = write_video(tmp_path / "a.ts", 40, times=[full_ms - 800 + 40 * number for number in range(40)])
    np.testing.assert_allclose(frame_times(str(path)), np.arange(40) / 25, atol=2e-3)
