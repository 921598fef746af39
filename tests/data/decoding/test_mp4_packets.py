"""What the tables of MP4 files tell is what demuxing the whole file tells, and odd files are demuxed."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from hostile_videos import rewrite
from painted_videos import SIZE, number_of, picture, write_video

from liteframe.data.decoding.decode import read_frames
from liteframe.data.decoding.pyav import mp4_packets
from liteframe.data.decoding.pyav import opening as pyav_open
from liteframe.data.decoding.pyav.mp4_packets import read_tables
from liteframe.data.decoding.pyav.opening import open_video
from liteframe.data.decoding.pyav.packet_table import PacketTable, read_packets
from liteframe.data.decoding.pyav.scan import scan
from liteframe.errors import DecodeError

_VFR = np.cumsum(np.random.default_rng(0).integers(1, 200, 60)).tolist()
_B = {"g": "12", "bf": "3", "b_strategy": "0"}
_HEVC = {"codec": "libx265", "options": {"x265-params": "keyint=10:log-level=none:open-gop=1:pools=1"}}
TOLD: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"options": _B},
    "table_first.mp4": {"options": _B, "container_options": {"movflags": "faststart"}},
    "quicktime.mov": {"options": _B},
    "no_edits.mp4": {"options": _B, "container_options": {"use_editlist": "0"}},
    "each_a_key.mp4": {"options": {"g": "1"}},
    "one_group.mp4": {"options": {"g": "1000"}},
    "rate.mp4": {"options": _B, "times": _VFR},
    "late.mp4": {"options": _B, "times": [time + 700 for time in _VFR]},
    "ten_bit.mp4": {"options": _B, "pixel_format": "yuv420p10le"},
    "hevc.mp4": _HEVC,
    "hevc.mov": _HEVC,
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "qscale": "2"}},
    "vp9.mp4": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "12", "svtav1-params": "lp=1"}},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
}
ODD: dict[str, dict[str, Any]] = {
    "interlaced.mp4": {"options": {"x264-params": "keyint=12:tff=1"}},
    "fragments.mp4": {"options": _B, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}},
    "open.mp4": {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
}
_STBL = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def told_by(read: Any, path: Path) -> Any:
    """What one way of reading gives: a table and the first frame's time, None, or the error's text."""
    try:
        with open_video(str(path)) as (container, stream, log), log.listening(decoder=False):
            answer = read(str(path), container, stream, log)
            return None if answer is None else (answer[0], answer[1].pts)
    except DecodeError as error:
        return error.reason


def require_same(path: Path, names: Sequence[str] = tuple(PacketTable.__dataclass_fields__)) -> bool:
    """Whether the tables tell; then the same as all packets do, of what is named."""
    tables, packets = told_by(read_tables, path), told_by(read_packets, path)
    if tables is None:
        return False
    if isinstance(tables, str):  # where samples lie beyond the end of the file, FFmpeg may leave them out and be silent
        assert isinstance(packets, str) or "beyond the end" in tables
        return True
    assert not isinstance(packets, str), packets
    assert tables[1] == packets[1]
    assert isinstance(tables[0], PacketTable) == isinstance(packets[0], PacketTable)
    for name in names if tables[0] else ():
        np.testing.assert_array_equal(getattr(tables[0], name), getattr(packets[0], name), name)
    return True


@pytest.mark.parametrize("name", [*TOLD, *ODD])
def test_tables_tell_what_packets_tell(tmp_path: Path, name: str) -> None:
    settings = {**TOLD, **ODD}[name]
    if settings.get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this FFmpeg has no encoder for it")
    path = write_video(tmp_path / name, 60, **settings)
    told = require_same(path)
    assert told == (name in TOLD)
    assert [number_of(frame) for frame in read_frames(str(path), [3, 30, 59])] == [3, 30, 59]


@pytest.mark.parametrize("cut", [0.1, 0.5, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("name", ["b_frames.mp4", "hevc.mp4", "each_a_key.mp4", "mpeg4.mp4"])
def test_what_an_edit_list_hides_at_the_start(tmp_path: Path, name: str, cut: float) -> None:
    path = write_video(tmp_path / name, 60, **TOLD[name])
    with av.open(str(path)) as container:
        before = [packet.pts for packet in container.demux(video=0) if packet.size]
        base = container.streams.video[0].time_base
    data = path.read_bytes()
    entry = data.index(b"elst") + 12
    _, begin = struct.unpack_from(">Ii", data, entry)
    # what is left: from there to the end of the track, in thousandths
    edit = struct.pack(">Iihh", round((2.4 - cut) * 1000), begin + round(cut / base), 1, 0)
    path.write_bytes(rewrite(data, (b"moov", b"trak", b"edts", b"elst"), struct.pack(">II", 0, 1) + edit))
    assert require_same(path)
    left = scan(str(path)).frames
    assert left == sum(pts - min(before) >= round(cut / base) for pts in before)
    assert [number_of(frame) for frame in read_frames(str(path), [0, left - 1])] == [60 - left, 59]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_tables_tell_the_same_or_nothing(tmp_path: Path, seed: int) -> None:
    path = write_video(tmp_path / "a.mp4", 24, options={"g": "8", "bf": "2"})
    data, rng = bytearray(path.read_bytes()), random.Random(seed)
    start = data.index(b"stbl")
    for _ in range(rng.choice((1, 3))):
        data[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    require_same(path, ("pts_T", "hidden"))  # FFmpegs differ in which pictures they call key frames then


def test_a_table_of_key_frames_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 24, options={"g": "12", "bf": "0"})
    keys = struct.pack(">II3I", 0, 3, 1, 5, 13)
    path.write_bytes(rewrite(path.read_bytes(), (*_STBL, b"stss"), keys))
    assert told_by(read_tables, path) is None
    assert [number_of(frame) for frame in read_frames(str(path), [6, 20])] == [6, 20]


def test_chunks_at_places_of_eight_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 24, options={"g": "8", "bf": "2"})
    data = path.read_bytes()
    place = data.index(b"stco")
    (count,) = struct.unpack_from(">I", data, place + 8)
    offsets = struct.unpack_from(f">{count}I", data, place + 12)
    wide = rewrite(data, (*_STBL, b"stco"), struct.pack(f">II{count}Q", 0, count, *offsets))
    path.write_bytes(wide.replace(b"stco", b"co64"))
    assert require_same(path)


def test_of_several_streams_each_is_told_by_its_own_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25, options={"g": group}) for group in ("5", "9")]
        for stream in streams:
            stream.width = stream.height = SIZE
            stream.pix_fmt = "yuv420p"
        for number in range(30):
            for stream in streams:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    assert require_same(path)


def test_shared_videos(shared_videos: Path) -> None:
    told = [require_same(path) for path in sorted(shared_videos.glob("*.m[po][4v]"))]
    assert sum(told) >= 10


class _Counting:
    """An open file that counts what is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes = file, 0

    def read(self, count: int = -1) -> bytes:
        data = self.file.read(count)
        self.bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_of_a_large_file_little_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (8, 360, 640, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "preset": "ultrafast", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise[number % 8], format="rgb24")))
        container.mux(stream.encode(None))
    opened: list[_Counting] = []
    whole_open = pyav_open.open_file

    @contextmanager
    def counted(path: str, buffered: bool = False) -> Iterator[Any]:
        with whole_open(path, buffered) as file:
            opened.append(_Counting(file))
            yield opened[-1]

    for module in (pyav_open, mp4_packets):
        monkeypatch.setattr(module, "open_file", counted)
    assert scan(str(path)).frames == 60
    size = path.stat().st_size
    assert size > 20_000_000
    assert sum(file.bytes for file in opened) < 0.5 * size  # FFmpeg itself looks at 5 MB before it begins
