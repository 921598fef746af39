"""Which stream is read, when its frames are shown, and what is refused before anything is allocated."""

from __future__ import annotations

import struct
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import SIZE, number_of, picture, write_video
from remuxed_videos import remux

from liteframe.data.decoding.decode import frame_times, probe, read_frames
from liteframe.data.decoding.orientation import orientation_of
from liteframe.data.decoding.pyav.scan import scan
from liteframe.errors import DecodeError

_TS_PACKET = 188


def two_streams(path: Path, default: int, size: tuple[int, int] = (SIZE, SIZE)) -> Path:
    """Stream 0 shows numbers from 0 on, stream 1 from 100 on."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25, options={"g": "12"}) for _ in range(2)]
        for place, stream in enumerate(streams):
            stream.width, stream.height = (SIZE, SIZE) if place == 0 else size
            stream.pix_fmt = "yuv420p"
            if not hasattr(stream, "disposition"):
                pytest.skip("this PyAV does not tell which stream is the default")
            flags = int(place == default)
            try:
                stream.disposition = type(stream.disposition)(flags)
            except TypeError:  # before PyAV 17
                stream.disposition = flags
        for number in range(30):
            for place, stream in enumerate(streams):
                image = np.resize(picture(number + 100 * place), (stream.height, stream.width, 3))
                image = picture(number + 100 * place) if image.shape[0] == SIZE else image
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("default", [0, 1])
def test_the_default_stream_is_read_and_decord_is_not_asked(tmp_path: Path, name: str, default: int) -> None:
    path = str(two_streams(tmp_path / name, default))
    assert scan(path).streams == 2 and probe(path).frames == 30
    for indices in ([0], [3, 17, 29], range(30)):
        assert [number_of(frame) - 100 * default for frame in read_frames(path, indices)] == list(indices)
    with pytest.raises(DecodeError, match=r"another of its 2 video streams|not installed"):
        read_frames(path, [0], "decord")


def test_a_larger_stream_that_is_not_the_default_is_left(tmp_path: Path) -> None:
    path = str(two_streams(tmp_path / "a.mkv", 0, (2 * SIZE, 2 * SIZE)))
    assert (probe(path).width, probe(path).height) == (SIZE, SIZE)


def joined(path: Path, codec: str, parts: int, counted_on: bool) -> Path:
    """A transport stream end to end with itself: times begin again, and the count of its packets goes on or not."""
    one = write_video(path, 30, codec=codec, options={"g": "10", "bf": "2"}).read_bytes()
    counters: dict[int, int] = {}
    data = bytearray(one * parts)
    for start in range(0, len(data) if counted_on else 0, _TS_PACKET):
        stream = (data[start + 1] & 31) << 8 | data[start + 2]
        if data[start + 3] & 16:
            counters[stream] = (counters.get(stream, -1) + 1) % 16
        data[start + 3] = data[start + 3] & 0xF0 | counters.get(stream, 0)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("counted_on", [True, False])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_transport_streams_joined_end_to_end(tmp_path: Path, codec: str, counted_on: bool) -> None:
    path = str(joined(tmp_path / "a.ts", codec, 3, counted_on))
    assert probe(path).frames == 90 and probe(path).fps == 25
    assert probe(path).duration == pytest.approx(3.6, abs=0.05)
    np.testing.assert_allclose(frame_times(path), np.arange(90) / 25, atol=1e-3)
    for indices in ([0, 29, 30, 31, 60, 89], [45], range(90)):
        assert [number_of(frame) for frame in read_frames(path, indices)] == [index % 30 for index in indices]


def laid_out(data: bytes, before: int, behind: int) -> bytes:
    """A transport stream with bytes added before and after each packet, as in `.m2ts` or for error correction."""
    packets = [data[start : start + _TS_PACKET] for start in range(0, len(data), _TS_PACKET)]
    return b"".join(bytes(before) + packet + bytes(behind) for packet in packets)


_LAYOUTS = [(0, 0), (4, 0), (0, 16)]


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_segments_that_count_their_packets_anew_and_whose_clock_goes_on(
    tmp_path: Path, codec: str, layout: tuple[int, int]
) -> None:
    def parted(packets: list[Any]) -> list[list[Any]]:
        starts = [place for place, packet in enumerate(packets) if packet.is_keyframe]
        return [packets[start:stop] for start, stop in pairwise([*starts, len(packets)])]

    whole = write_video(tmp_path / "whole.ts", 60, codec=codec, options={"g": "20"})
    segments = [
        remux(whole, tmp_path / f"{place}.ts", lambda packets, place=place: parted(packets)[place])
        for place in range(3)
    ]
    path = tmp_path / "a.ts"
    for chosen in ((0, 1, 2), (0, 2)):  # one may be missing: the times tell
        path.write_bytes(laid_out(b"".join(segments[place].read_bytes() for place in chosen), *layout))
        numbers = [20 * place + number for place in chosen for number in range(20)]
        np.testing.assert_allclose(frame_times(str(path)), np.array(numbers) / 25, atol=1e-3)
        for indices in (range(len(numbers)), [19, 20, 21], [len(numbers) - 1, 3]):
            assert [number_of(frame) for frame in read_frames(str(path), indices)] == [numbers[i] for i in indices]


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_packets_that_are_missing_before_a_table_of_programs_are_no_join(
    tmp_path: Path, codec: str, layout: tuple[int, int]
) -> None:
    data = write_video(tmp_path / "a.ts", 60, codec=codec, options={"g": "10"}).read_bytes()
    packets = [data[start : start + _TS_PACKET] for start in range(0, len(data), _TS_PACKET)]
    tables = [place for place, packet in enumerate(packets) if packet[1] & 31 == 0 and packet[2] == 0]
    for lost in (1, 2):
        path = tmp_path / f"{lost}.ts"
        path.write_bytes(laid_out(b"".join(packets[: tables[3] - lost] + packets[tables[3] :]), *layout))
        with pytest.raises(DecodeError, match="damaged"):
            read_frames(str(path), range(probe(str(path)).frames))


def test_packets_that_are_missing_are_no_join(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", 60, options={"g": "10", "bf": "2"})
    data = path.read_bytes()
    middle = len(data) // _TS_PACKET // 2 * _TS_PACKET
    path.write_bytes(data[:middle] + data[middle + 3 * _TS_PACKET :])
    with pytest.raises(DecodeError, match="damaged"):
        read_frames(str(path), range(probe(str(path)).frames))


_PLAIN, _B = {"g": "12", "bf": "0"}, {"g": "12", "bf": "3", "b_strategy": "0"}


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts", "a.flv", "a.mkv", "a.avi", "a.mpg", "a.wmv"])
@pytest.mark.parametrize("codec, options", [("libx264", _PLAIN), ("libx264", _B), ("mpeg1video", _PLAIN)])
def test_rate_and_times_are_those_of_the_frames(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    if codec == "mpeg1video" and name == "a.flv":
        pytest.skip("Flash video has no such codec")
    path = str(write_video(tmp_path / name, 60, codec=codec, options=options))
    info = probe(path)
    assert info.frames == 60 and info.fps == pytest.approx(25, rel=0.01)
    assert info.duration == pytest.approx(2.4, abs=0.02)
    np.testing.assert_allclose(frame_times(path), np.arange(60) / 25, atol=2e-3)


def test_an_avi_that_counts_twice_as_fast_as_it_has_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=50, options={"g": "12", "bf": "3", "b_strategy": "0"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = 2 * number, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        assert stream.average_rate == 50
    info = probe(str(path))
    assert info.frames == 60 and info.fps == pytest.approx(25, rel=0.01)
    np.testing.assert_allclose(frame_times(str(path)), np.arange(60) / 25, atol=1e-3)
    assert [number_of(frame) for frame in read_frames(str(path), [0, 25, 59])] == [0, 25, 59]


def test_the_rate_of_a_variable_file_is_the_mean_of_its_times(tmp_path: Path) -> None:
    times = [*range(0, 1000, 20), *range(1000, 11000, 1000)]
    path = str(write_video(tmp_path / "a.mkv", len(times), times=times))
    assert probe(path).fps == pytest.approx((len(times) - 1) / 10, rel=0.03)


@pytest.mark.skipif(sys.platform != "linux", reason="its memory is read from /proc")
def test_sizes_that_headers_claim_are_refused_before_pictures_are_made(tmp_path: Path) -> None:
    """A frame of 65500 x 65500 pixels would take 6 GB."""
    side = 65500
    mp4 = write_video(tmp_path / "a.mp4", 3)
    data = bytearray(mp4.read_bytes())
    struct.pack_into(">HH", data, data.index(b"avc1", data.index(b"stsd")) + 28, side, side)
    mp4.write_bytes(data)
    gif = write_video(tmp_path / "a.gif", 3, codec="gif", pixel_format="rgb8")
    data = bytearray(gif.read_bytes())
    struct.pack_into("<HH", data, 6, side, side)
    gif.write_bytes(data)
    ivf = write_video(tmp_path / "a.ivf", 3, codec="libvpx")
    data = bytearray(ivf.read_bytes())
    struct.pack_into("<HH", data, 12, side, side)
    struct.pack_into("<HH", data, 32 + 12 + 6, 16383, 16383)
    ivf.write_bytes(data)
    avi = write_video(tmp_path / "a.avi", 3, codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(avi.read_bytes())
    place = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, place + 5, side, side)
    avi.write_bytes(data)
    code = (
        "import sys; sys.path.insert(0, {source!r})\n"
        "from liteframe.data.decoding.decode import read_frames\n"
        "from liteframe.errors import DecodeError\n"
        "try: read_frames({path!r}, [0])\n"
        "except DecodeError as error: print(error.reason)\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
    )
    import liteframe

    source = str(Path(liteframe.__file__).parents[1])
    for path in (mp4, gif, ivf, avi):
        program = code.format(source=source, path=str(path))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        reason, memory = done.stdout.splitlines()
        assert path.suffix == ".avi" or "million" in reason or "Picture size" in reason, (path, reason)
        assert int(memory) < 400_000, (path, memory)


def test_frames_of_one_time_share_the_time_up_to_the_next(tmp_path: Path) -> None:
    def pair(packets: list[Any]) -> list[Any]:
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = 40 * (number - (number % 10 == 5))
        return packets

    whole = write_video(tmp_path / "whole.mkv", 40, options={"g": "1"})
    path = str(remux(whole, tmp_path / "pairs.mkv", pair))
    np.testing.assert_allclose(frame_times(path), np.arange(40) / 25, atol=1e-3)
    assert [number_of(frame) for frame in read_frames(path, [4, 5, 6, 39])] == [4, 5, 6, 39]


def test_times_that_go_back_a_little_belong_to_frames_near_by(tmp_path: Path) -> None:
    def swap(packets: list[Any]) -> list[Any]:
        for number in range(3, len(packets) - 1, 7):
            packets[number].pts, packets[number + 1].pts = packets[number + 1].pts, packets[number].pts
        for packet in packets:
            packet.pts += 400  # none is shown before it is decoded
        return packets

    whole = write_video(tmp_path / "whole.mkv", 40, codec="mjpeg", pixel_format="yuvj420p")
    path = str(remux(whole, tmp_path / "swapped.mkv", swap))
    np.testing.assert_allclose(frame_times(path), np.arange(40) / 25, atol=1e-3)
    assert [number_of(frame) for frame in read_frames(path, [3, 4, 20, 39])] == [3, 4, 20, 39]


def test_of_side_data_that_pyav_does_not_know_the_rotation_is_left() -> None:
    """PyAV raises where a frame carries what its FFmpeg knows and it does not, such as EXIF."""

    class Frame:
        rotation = -90

        @property
        def side_data(self) -> Any:
            raise ValueError("31 is not a valid Type")

    assert orientation_of(Frame()).rotation == 270
