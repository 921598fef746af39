"""A frame that is sought is the one that reading in order gives, or an error; also where a file is damaged."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import number_of, write_video

from liteframe.data.decoding import decode
from liteframe.data.decoding.decode import probe, read_frames
from liteframe.data.decoding.pyav import reader as pyav_reader
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.reader import Converter, read_in_order
from liteframe.data.decoding.pyav.scan import scan
from liteframe.errors import DecodeError

_X265 = "keyint=10:log-level=none:open-gop=1:pools=1"
_OPEN_264 = {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}
_CROWDED_KEYS: dict[str, Any] = {
    "options": {"g": "60", "bf": "3", "b_strategy": "0", "forced-idr": "1"},
    "keys": (0, 7, 8, 9, 20, 21, 40, 42, 44),
}
_SOUGHT: dict[str, dict[str, Any]] = {
    "open_groups.mp4": {"options": _OPEN_264},
    "open_groups.ts": {"options": _OPEN_264},
    "transport.ts": {"options": {"g": "12", "bf": "2"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": _X265}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": _X265}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "12", "qscale": "2"}},
    "mpeg2_b.ts": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2", "qscale": "2"}},
    "fragments.mp4": {**_CROWDED_KEYS, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "without_edits.mp4": {**_CROWDED_KEYS, "container_options": {"use_editlist": "0"}},
    "with_edits.mp4": _CROWDED_KEYS,
    "mpeg4_b.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "qscale": "2"}},
}


@pytest.mark.parametrize("name", _SOUGHT)
def test_frames_are_right_and_sought_without_reading_all(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_video(tmp_path / name, 60, **_SOUGHT[name]))
    monkeypatch.setattr(pyav_reader, "read_in_order", None)
    for indices in [*([index] for index in range(0, 60, 3)), [5, 14, 33, 59], [21, 22, 48]]:
        assert [number_of(frame) for frame in read_frames(path, indices)] == indices


def test_a_table_that_calls_every_frame_a_key_frame_is_not_believed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 40, codec="mpeg4", options={"g": "40", "qscale": "2"})
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    assert len(scan(str(path)).key_pts_K) == 40
    for index in (7, 20, 39):
        assert [number_of(frame) for frame in read_frames(str(path), [index])] == [index]


def test_a_transport_stream_with_lost_packets_is_an_error_or_counted_by_decoding(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", 60, options={"g": "12", "bf": "2"})
    data = path.read_bytes()
    assert not scan(str(path)).by_decoding
    for start in range(20, 100, 16):
        path.write_bytes(data[: 188 * start] + data[188 * (start + 16) :])  # a whole round of the counter of packets
        try:
            assert scan(str(path)).by_decoding
        except DecodeError:
            continue


def test_times_that_contradict_the_order_of_decoding_are_not_believed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 40, codec="mpeg4", options={"g": "10", "qscale": "2"})
    assert not scan(str(path)).by_decoding
    with_other_time = bytearray(path.read_bytes())
    block = with_other_time.index(b"\xa3", with_other_time.index(b"\x1f\x43\xb6\x75"))
    place = with_other_time.index(b"\x81", block) + 1  # the time of a block follows the number of its track
    with_other_time[place : place + 2] = (2_000).to_bytes(2, "big")
    path.write_bytes(with_other_time)
    assert scan(str(path)).by_decoding


_DAMAGED: dict[str, dict[str, Any]] = {
    "ffv1.mkv": {"codec": "ffv1", "options": {"g": "6"}},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "h264.ts": {"options": {"g": "8", "bf": "2"}},
    "h264.mkv": {"options": {"g": "8", "bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "8", "bf": "2"}},
    "flv1.flv": {"codec": "flv", "options": {"g": "8"}},
    "wmv2.wmv": {"codec": "wmv2", "options": {"g": "8"}},
}


def in_order(path: str) -> list[np.ndarray]:
    """Frames up to the first error."""
    frames = []
    try:
        convert = Converter(scan(path))
        for frame in frames_in_order(path):
            frames.append(convert(frame))
    except DecodeError:
        return frames
    return frames


@pytest.mark.parametrize("name", _DAMAGED)
def test_damage_never_makes_a_sought_frame_another(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, 24, **_DAMAGED[name])
    whole = in_order(str(path))
    data = path.read_bytes()
    errors = 0
    for seed in range(16):
        rng = random.Random(f"{name}{seed}")
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 3, 30))):
            damaged[rng.randrange(len(data) // 8, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        decode.forget_scans()
        authority = in_order(str(path))
        for index in (2, 11, 13, 22):
            try:
                (frame,) = read_frames(str(path), [index])
            except DecodeError:
                errors += 1
                continue
            expected = [frames[index] for frames in (authority, whole) if index < len(frames)]
            same = any(np.array_equal(frame, other) for other in expected)
            # damage that no decoder can notice may lie behind the first that it does
            assert same or (index >= len(authority) and number_of(frame) == index), (seed, index)
    assert 0 < errors < 64


def test_the_undamaged_files_of_these_tests_are_no_errors(tmp_path: Path) -> None:
    for name, settings in _DAMAGED.items():
        path = str(write_video(tmp_path / name, 24, **settings))
        assert probe(path).frames == len(in_order(path)) == 24


@pytest.mark.parametrize("group", [0, 1])
def test_a_frame_made_from_one_that_is_shown_later_and_patched_up_is_an_error(tmp_path: Path, group: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 24, options={"g": "8", "bf": "2", "x264-params": "scenecut=0"})
    first = 8 * group
    with av.open(str(path)) as container:
        key, reference = [packet for packet in container.demux() if packet.size][first : first + 2]
    assert reference.pts > key.pts + reference.duration  # frames are shown between the two
    data = bytearray(path.read_bytes())
    data[reference.pos + 8 : reference.pos + 24] = b"\xff" * 16
    path.write_bytes(data)
    decode.forget_scans()
    for read in (read_frames, lambda path, indices: read_in_order(decode.scan_cached(path), indices)):
        with pytest.raises(DecodeError, match="damaged"):
            read(str(path), [first + 1])


@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc4"])
def test_a_jpeg_that_lost_its_tables_is_read_as_in_order(tmp_path: Path, marker: bytes) -> None:
    path = write_video(tmp_path / "clip.mov", 12, codec="mjpeg", pixel_format="yuvj420p")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux() if packet.size][5]
    start = packet.pos + bytes(packet).index(marker)
    data = bytearray(path.read_bytes())
    data[start : start + 2] = b"\xff\xe5"  # a segment that decoders pass over
    path.write_bytes(data)
    decode.forget_scans()
    assert np.array_equal(read_frames(str(path), [5])[0], in_order(str(path))[5])
