"""Pictures that are left undecoded change nothing of the others, and one that was misjudged is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import write_video
from remuxed_videos import remux

from liteframe.data.decoding import decode
from liteframe.data.decoding.bitstream.unreferenced import PROVEN, Misjudged, unreferenced_finder
from liteframe.data.decoding.decode import read_frames
from liteframe.data.decoding.pyav import reader as pyav_reader
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.reader import Converter, read_in_order
from liteframe.data.decoding.pyav.scan import Scan, scan

_FRAMES = 48
_X264 = "keyint=24:b-adapt=0:scenecut=0:"
_X265 = "keyint=24:b-adapt=0:log-level=none:pools=1:"
_B = {"g": "12", "bf": "2", "qscale": "2"}
_CLIPS: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {"options": {"x264-params": _X264 + "bframes=7:b-pyramid=normal:ref=6"}},
    "pyramid.ts": {"options": {"x264-params": _X264 + "bframes=7:b-pyramid=normal:ref=6"}},
    "strict.mkv": {"options": {"x264-params": _X264 + "bframes=5:b-pyramid=strict:weightb=1:direct=temporal"}},
    "slices.mp4": {"options": {"x264-params": _X264 + "bframes=3:slices=4"}},
    "open.mp4": {"options": {"x264-params": _X264 + "bframes=3:open-gop=1"}},
    "rgb.mp4": {"codec": "libx264rgb", "pixel_format": "rgb24", "options": {"g": "24", "bf": "3", "b_strategy": "0"}},
    "ten_bit.mkv": {"pixel_format": "yuv422p10le", "options": {"x264-params": _X264 + "bframes=3"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": _X265 + "bframes=4:open-gop=0"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": _X265 + "bframes=4:open-gop=1"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": _B},
    "mpeg4.mkv": {"codec": "mpeg4", "options": _B},
}
_NEVER: dict[str, dict[str, Any]] = {
    "fields.mp4": {"options": {"x264-params": _X264 + "bframes=2:tff=1"}},
    "layers.mp4": {"codec": "libx265", "options": {"x265-params": _X265 + "bframes=4:temporal-layers=3"}},
    "vp9.mkv": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2M"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": _B},
    "lossless.mkv": {"codec": "ffv1", "options": {"g": "6"}},
}


def in_order(path: Path) -> tuple[Scan, list[np.ndarray]]:
    seen = scan(str(path))
    return seen, list(map(Converter(seen), frames_in_order(str(path))))


def packets_of(container: Any) -> list[tuple[Any, int]]:
    """The packets of a clip in order of decoding, with the place of each in the order of display."""
    packets = [packet for packet in container.demux(video=0) if packet.size]
    times = sorted(packet.pts for packet in packets)
    return [(packet, times.index(packet.pts)) for packet in packets]


def leaves_out(path: Path) -> int:
    """How many pictures of a clip are left out."""
    with av.open(str(path)) as container:
        finder = unreferenced_finder(container.streams.video[0])
        assert finder is not None
        return sum(finder(packet, place) for packet, place in packets_of(container))


@pytest.mark.parametrize("name", _CLIPS)
def test_frames_are_the_same_to_the_level_with_a_third_of_the_pictures_left_out(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / name, _FRAMES, **_CLIPS[name])
    seen, frames = in_order(path)
    assert seen.codec in PROVEN and len(frames) == _FRAMES
    assert leaves_out(path) > _FRAMES / 3 - 2
    monkeypatch.setattr(pyav_reader, "read_in_order", None)
    for indices in [*([index] for index in range(_FRAMES)), [3, 4, 5, 6], [10, 11, 30], [1, 25, 47]]:
        for frame, index in zip(read_frames(str(path), indices), indices, strict=True):
            assert np.array_equal(frame, frames[index]), index


@pytest.mark.parametrize("name", _NEVER)
def test_nothing_is_left_out_of_what_is_not_proven(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, _FRAMES, **_NEVER[name])
    _, frames = in_order(path)
    with av.open(str(path)) as container:
        finder = unreferenced_finder(container.streams.video[0])
        if name == "layers.mp4" and finder is not None:
            pytest.skip("this encoder writes no layers")
        assert finder is None
    for index in range(0, _FRAMES, 5):
        assert np.array_equal(read_frames(str(path), [index])[0], frames[index])


def _pyramid(path: Path) -> list[tuple[int, bool]]:
    """Where the slices of each picture begin in an MP4 of H.264, and whether others refer to it, in decoding order."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    places = []
    for start in starts:
        while data[start + 4] & 31 == 6:  # remarks in front
            start += 4 + int.from_bytes(data[start : start + 4], "big")
        places.append((start + 4, data[start + 4] & 0x60 > 0))
    return places


@pytest.mark.parametrize("header", [0x01, 0x06, 0x0C, 0xC1])
def test_a_reference_whose_header_says_that_it_is_none_is_never_left_out_in_silence(
    tmp_path: Path, header: int
) -> None:
    path = write_video(tmp_path / "clip.mp4", _FRAMES, **_CLIPS["pyramid.mp4"])
    _, whole = in_order(path)
    data, places = path.read_bytes(), _pyramid(path)
    references = [place for place, (_, referenced) in enumerate(places) if referenced][1:6]
    for reference in references:
        damaged = bytearray(data)
        damaged[places[reference][0]] = header
        path.write_bytes(damaged)
        decode.forget_scans()
        for index in range(0, 24, 3):
            try:
                (frame,) = read_frames(str(path), [index])
            except decode.DecodeError:
                continue
            assert np.array_equal(frame, whole[index]) or np.array_equal(
                frame, read_in_order(scan(str(path)), [index])[0]
            ), (reference, index)


def test_a_missing_reference_is_found_out_by_the_numbers_of_pictures(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", _FRAMES, **_CLIPS["pyramid.mp4"])
    places = _pyramid(path)
    with av.open(str(path)) as container:
        packets = packets_of(container)
        for missing, (_, referenced) in enumerate(places[1:22], start=1):
            finder = unreferenced_finder(container.streams.video[0])
            assert finder is not None
            rest = packets[:missing] + packets[missing + 1 : 24]
            if referenced:
                with pytest.raises(Misjudged):
                    [finder(*packet) for packet in rest]
            else:
                [finder(*packet) for packet in rest]


def swap_times(path: Path, copy: Path, early: int, late: int) -> None:
    """A copy in which two packets, by their places in order of decoding, have each other's times of presentation."""

    def swap(packets: list[Any]) -> list[Any]:
        packets[early].pts, packets[late].pts = packets[late].pts, packets[early].pts
        return packets

    remux(path, copy, swap)


@pytest.mark.parametrize("name", [name for name in _CLIPS if name.endswith((".mp4", ".mkv"))])
def test_times_that_contradict_the_pictures_are_found_out(tmp_path: Path, name: str) -> None:
    path, wrong = write_video(tmp_path / name, _FRAMES, **_CLIPS[name]), tmp_path / f"wrong_{name}"
    with av.open(str(path)) as container:
        places = [place for _, place in packets_of(container)]
    late = next(late for late in range(14, 40) if places[late] < places[late - 1])
    swap_times(path, wrong, late - 1, late)
    for index in range(min(places[late - 1 : late + 1]) - 2, max(places[late - 1 : late + 1]) + 3):
        decode.forget_scans()
        (frame,) = read_frames(str(wrong), [index])
        by_decoding = in_order(wrong)[1][index]
        assert np.array_equal(frame, by_decoding), index


@pytest.mark.parametrize("name", ["mpeg4.mkv", "mpeg4.mp4"])
def test_pictures_between_two_others_are_left_out_in_the_order_in_which_they_are_shown_only(
    tmp_path: Path, name: str
) -> None:
    path = write_video(tmp_path / name, _FRAMES, **_CLIPS[name])
    with av.open(str(path)) as container:
        (first, _), (anchor, _), (one, _), (two, _) = packets_of(container)[:4]
        for places, expected in (((0, 3, 1, 2), [True, True]), ((0, 3, 2, 1), [True, False])):
            finder = unreferenced_finder(container.streams.video[0])
            assert finder is not None
            told = [finder(packet, place) for packet, place in zip((first, anchor, one, two), places, strict=True)]
            assert told == [False, False, *expected]
