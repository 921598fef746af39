"""Files that end before their containers say so are errors, and good for what is there where that is allowed."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import SIZE, number_of, picture, write_video

from liteframe.data.checking.probe import check_video
from liteframe.data.decoding import decode, heartbeat
from liteframe.data.decoding.containers import cut_short
from liteframe.data.decoding.containers.cut_short import CutShort
from liteframe.data.decoding.decode import probe, read_frames_by
from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.decoding.processes.job import decode as decode_job
from liteframe.data.decoding.pyav.scan import scan
from liteframe.data.sampling import UniformMidpoints
from liteframe.errors import DecodeError

_H264 = {"options": {"g": "12", "bf": "2"}}
_VP9 = {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2M"}}
_VP8 = {"codec": "libvpx", "options": {"g": "12", "b": "2M"}}
_MPEG2 = {"codec": "mpeg2video", "options": {"g": "12", "bf": "2", "qscale": "2"}}
_WMV = {"codec": "wmv2", "options": {"g": "12", "qscale": "2"}}
WHOLE: dict[str, dict[str, Any]] = {
    "a.mkv": _H264,
    "a.webm": _VP9,
    "b.webm": _VP8,
    "a.mp4": {**_H264, "container_options": {"movflags": "faststart"}},
    "fragments.mp4": {**_H264, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "segments.mp4": {**_H264, "container_options": {"movflags": "dash"}},
    "a.ts": _H264,
    "b.ts": _MPEG2,
    "a.m2ts": _H264,
    "a.mpg": _MPEG2,
    "a.flv": _H264,
    "a.wmv": _WMV,
    "a.avi": {"codec": "mpeg4", "options": {"g": "12", "qscale": "2"}},
    "a.mxf": _MPEG2,
    "a.ivf": _VP8,
    "a.ogv": _VP8,
    "a.y4m": {"codec": "rawvideo"},
    "b.y4m": {"codec": "rawvideo", "pixel_format": "yuv422p"},
    "a.gif": {"codec": "gif", "pixel_format": "rgb8"},
    "a.apng": {"codec": "apng", "pixel_format": "rgb24"},
}
_LIVE: dict[str, dict[str, Any]] = {
    "live.mkv": {**_H264, "container_options": {"live": "1"}},
    "live.webm": {**_VP9, "container_options": {"live": "1"}},
    "live.flv": {**_H264, "container_options": {"flvflags": "no_duration_filesize"}},
}


def cut_at(path: Path, bytes_left: int) -> Path:
    path.write_bytes(path.read_bytes()[:bytes_left])
    decode.forget_scans()
    return path


@pytest.mark.parametrize("name", [*WHOLE, *_LIVE])
def test_whole_files_and_recordings_without_a_length_are_whole(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, 60, **{**WHOLE, **_LIVE}[name])
    assert scan(str(path)).frames == 60 and probe(str(path)).cut_short == ""
    assert check_video(str(path)).ok


@pytest.mark.parametrize("name", WHOLE | {name: _LIVE[name] for name in ("live.mkv", "live.webm")})
def test_a_cut_anywhere_is_an_error_and_what_is_used_is_right(tmp_path: Path, name: str) -> None:
    if name in _LIVE and int(av.__version__.split(".")[0]) < 17:
        pytest.skip("this FFmpeg may call it damaged, which is an error as well")
    path = write_video(tmp_path / name, 60, **{**WHOLE, **_LIVE}[name])
    data, rng, used = path.read_bytes(), random.Random(name), 0
    for share in (0.4, *(rng.uniform(0.3, 0.95) for _ in range(8))):
        path.write_bytes(data)
        left = int(share * len(data))
        cut_at(path, left + (left % 188 == 0))  # between two packets of a transport stream nothing tells
        with pytest.raises(DecodeError, match="is cut short"):
            probe(str(path))
        assert "is cut short" in check_video(str(path)).error
        try:
            info = probe(str(path), truncated=True)
            frames, _ = read_frames_by(str(path), range(info.frames), truncated=True)
            last, _ = read_frames_by(str(path), [info.frames - 1], truncated=True)
        except DecodeError:
            continue
        assert info.cut_short and [number_of(frame) for frame in frames] == list(range(info.frames))
        np.testing.assert_array_equal(last[0], frames[-1])
        used += 1
    # an index at the end is gone with it
    assert used >= (0 if name == "a.avi" else 5)


def test_the_error_tells_how_much_is_there_and_what_to_do(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 100, **_H264)
    cut_at(path, path.stat().st_size * 6 // 10)
    with pytest.raises(CutShort, match=r"is cut short: [12]\.\d of 4\.0 s are there, \d+ of its \d+ bytes.*truncated"):
        probe(str(path))


def test_a_job_uses_what_is_there_where_it_may(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webm", 60, **_VP9)
    cut_at(path, path.stat().st_size // 2)
    with pytest.raises(CutShort):
        decode_job(DecodeJob(str(path), UniformMidpoints(), 4), "auto")
    video = decode_job(DecodeJob(str(path), UniformMidpoints(), 4, truncated="use"), "auto")
    assert [number_of(frame) for frame in video.frames_THWC] == video.indices.tolist()
    assert 10 < video.info.frames < 50 and "missing" in video.info.cut_short
    with pytest.raises(CutShort):  # what one job may, another may not
        decode_job(DecodeJob(str(path), UniformMidpoints(), 4), "auto")


def test_damage_within_what_is_there_stays_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 60, codec="libx264", options={"g": "60", "bf": "0"})
    with av.open(str(path)) as container:
        place, size = next((packet.pos, packet.size) for packet in list(container.demux(video=0))[10:11])
    data = bytearray(path.read_bytes())
    data[place + 12 : place + size] = bytes(size - 12)
    path.write_bytes(data)
    cut_at(path, len(data) * 3 // 4)
    with pytest.raises(DecodeError, match="damage"):
        probe(str(path), truncated=True)


def test_damage_within_a_recording_is_no_cut(tmp_path: Path) -> None:
    """A length that leads behind the end of the file may be wrong itself: then elements follow where it leads past."""
    path = write_video(tmp_path / "a.mkv", 60, codec="libx264", options={"g": "12"}, container_options={"live": "1"})
    data = bytearray(path.read_bytes())
    for place in (match.end() for match in re.finditer(rb"\x1f\x43\xb6\x75", data)):  # clusters of no known length
        count = 9 - data[place].bit_length()
        data[place : place + count] = ((1 << 7 * count + 1) - 1).to_bytes(count, "big")
    path.write_bytes(data)
    assert probe(str(path)).frames == 60
    cut_at(path, len(data) * 2 // 3)
    with pytest.raises(CutShort):
        probe(str(path))
    assert 20 < probe(str(path), truncated=True).frames < 60
    blocks = [place for place in range(len(data)) if data[place : place + 1] == b"\xa3" and data[place + 3] == 0x81]
    place = blocks[len(blocks) // 3]
    data[place + 1 : place + 2] = b"\x10"
    path.write_bytes(data)
    decode.forget_scans()
    for truncated in (False, True):
        with pytest.raises(DecodeError) as error:
            probe(str(path), truncated=truncated)
        assert not isinstance(error.value, CutShort)


def test_the_end_is_looked_for_in_few_steps_and_with_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, steps = list[int](), list[int]()
    read = cut_short._read
    monkeypatch.setattr(cut_short, "_read", lambda *given: reads.append(1) or read(*given))
    monkeypatch.setattr(cut_short, "_MOST_FRAMES", 1000)
    monkeypatch.setattr(cut_short, "_MOST_PARTS", 100)
    monkeypatch.setattr(heartbeat, "step", lambda: steps.append(1))
    head = b"DKIF\0\0" + struct.pack("<H", 32)
    for name, kind, start, rest in (
        ("zeros.ivf", "ivf", head.ljust(32, b"\0"), bytes(1 << 20)),
        ("many.ivf", "ivf", head.ljust(32, b"\0"), (struct.pack("<IQ", 1, 0) + b"x") * 100_000),
        ("many.avi", "avi", b"", struct.pack("<4sI4s", b"RIFF", 4, b"AVI ") * 100_000),
    ):
        (tmp_path / name).write_bytes(start + rest)
        reads.clear()
        with (tmp_path / name).open("rb") as file:
            assert cut_short.missing(file, kind) == ""
        assert len(reads) <= 1001
    assert len(steps) >= 1000


def test_a_broadcast_of_windows_media(tmp_path: Path) -> None:
    """Its header tells no sizes, but those of packets."""
    path = write_video(tmp_path / "a.wmv", 60, **_WMV)
    data = bytearray(path.read_bytes())
    data[data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")) + 88] |= 1
    path.write_bytes(data)
    assert probe(str(path)).frames == 60  # as some do, it tells its size all the same
    body = data.index(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"))
    (length,) = struct.unpack_from("<Q", data, body + 16)
    data = data[: body + length]
    data[body + 16 : body + 24] = bytes(8)
    path.write_bytes(data)
    decode.forget_scans()
    assert probe(str(path)).frames == 60
    cut_at(path, len(data) * 6 // 10 + 7)
    with pytest.raises(CutShort, match="its last packet is not whole"):
        probe(str(path))
    frames, _ = read_frames_by(str(path), range(20), truncated=True)
    assert [number_of(frame) for frame in frames] == list(range(20))


def test_flash_video_that_ends_between_packets(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.flv", 100, **_H264)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    cut_at(path, places[50])
    with pytest.raises(CutShort, match=r"2\.\d of 4\.\d s are there, \d+ of its \d+ bytes"):
        probe(str(path))
    path.write_bytes(data[: places[50]].replace(b"filesize", b"filesise"))
    with pytest.raises(CutShort, match=r"it ends at 2\.\d of 4\.\d s"):
        probe(str(path))


@pytest.mark.parametrize("told", [float("inf"), float("nan"), -1.0])
def test_flash_video_that_tells_no_size_lacks_nothing_known(told: float, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.flv", 10, **_H264)
    data = path.read_bytes()
    place = data.index(b"filesize\0") + 9
    path.write_bytes(data[:place] + struct.pack(">d", told) + data[place + 8 :])
    assert len(read_frames_by(str(path), range(10))[0]) == 10


def test_sound_that_goes_on_behind_the_picture_is_no_cut(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4", "a.flv", "a.ts"):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            video, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=44100)
            video.width = video.height = SIZE
            video.pix_fmt = "yuv420p"
            for number in range(25):
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
            container.mux(video.encode(None))
            for start in range(0, 4 * 44100, 1024):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 44100, start
                container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
        assert scan(str(path)).frames == 25


def test_lengths_that_are_a_little_wrong_are_no_cut(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 24, codec="mpeg4")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, len(data))  # of the whole file, instead of what follows
    path.write_bytes(data)
    assert scan(str(path)).frames == 24
    for name in ("a.mp4", "a.mkv"):
        path = write_video(tmp_path / name, 24)
        path.write_bytes(path.read_bytes() + bytes(100))  # filling behind the end
        assert scan(str(path)).frames == 24


@pytest.mark.parametrize("kind", [b"free", b"skip", b"uuid", b"what"])
def test_a_last_box_without_samples_may_be_cut(tmp_path: Path, kind: bytes) -> None:
    path = write_video(tmp_path / "a.mp4", 24)
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 40_000, kind) + bytes(100))
    assert scan(str(path)).frames == 24 and check_video(str(path)).note() == ""
    (filled := tmp_path / "b.mp4").write_bytes(_with_filling_first(path.read_bytes()))
    cut_at(filled, 200)
    with pytest.raises(DecodeError, match="is cut short"):
        probe(str(filled))


def _with_filling_first(data: bytes) -> bytes:
    """An MP4 of which nothing is there yet behind its first boxes but filling."""
    (head_bytes,) = struct.unpack_from(">I", data)
    return data[:head_bytes] + struct.pack(">I4s", 50_000, b"free") + bytes(50_000 - 8) + data[head_bytes:]


def test_shared_videos_are_whole(shared_videos: Path) -> None:
    for path in sorted(shared_videos.glob("*.m*v")) + sorted(shared_videos.glob("*.mp4")):
        assert probe(str(path)).cut_short == ""
