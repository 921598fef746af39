"""Key frames are never taken at their word: what is sought equals what is read in order, whatever the flags say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import number_of, write_video
from remuxed_videos import remux

from liteframe.data.decoding import decode
from liteframe.data.decoding.frame_sink import FrameArray
from liteframe.data.decoding.pyav import opening as pyav_open
from liteframe.data.decoding.pyav import reader as pyav_reader
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.reader import Converter, read_sparse
from liteframe.data.decoding.pyav.scan import scan
from liteframe.data.decoding.pyav.seek import Run, plan
from liteframe.errors import DecodeError

_FRAMES = 36
_X265 = "keyint=12:pools=1:log-level=none:"
_B = {"g": "12", "bf": "2", "qscale": "2"}
_CLIPS: dict[str, dict[str, Any]] = {
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "refresh.ts": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=2:b-adapt=0"}},
    "open.mkv": {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0:scenecut=0"}},
    "hevc_refresh.mkv": {"codec": "libx265", "options": {"x265-params": _X265 + "intra-refresh=1:bframes=0"}},
    "hevc_open.mp4": {"codec": "libx265", "options": {"x265-params": _X265 + "open-gop=1:bframes=3"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": _B},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "qscale": "2"}},
    "flv1.flv": {"codec": "flv", "options": {"g": "12", "qscale": "2"}},
    "ffv1.mkv": {"codec": "ffv1", "options": {"g": "6"}},
    "snow.mkv": {"codec": "snow", "options": {"g": "12"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "2M"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2M"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "12", "svtav1-params": "lp=1"}},
}  # fmt: skip


def call_all_key_frames(packets: list[Any]) -> list[Any]:
    """Packets that the container calls key frames, all of them."""
    for packet in packets:
        packet.is_keyframe = True
    return packets


def cut_off_the_first_group(packets: list[Any]) -> list[Any]:
    """Packets without those that are decoded before the second key frame."""
    return packets[[place for place, packet in enumerate(packets) if packet.is_keyframe][1] :]


def require_same_sought_as_in_order(path: Path) -> None:
    seen = scan(str(path))
    frames = list(map(Converter(seen), frames_in_order(str(path))))
    assert len(frames) == _FRAMES
    for indices in [*([index] for index in range(_FRAMES)), [3, 20, 21, 30], [13, 14, 15]]:
        for frame, index in zip(read_sparse(seen, indices), indices, strict=True):
            assert np.array_equal(frame, frames[index]), index


@pytest.mark.parametrize(
    "name", [name for name in _CLIPS if _CLIPS[name].get("codec", "libx264") in av.codecs_available]
)
def test_sought_frames_are_those_read_in_order(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, _FRAMES, **_CLIPS[name])
    require_same_sought_as_in_order(path)


@pytest.mark.parametrize("name", [name for name in _CLIPS if not name.startswith(("av1", "vp8", "flv1"))])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_flags_that_call_every_picture_a_key_frame_change_nothing(tmp_path: Path, name: str, ending: str) -> None:
    path = write_video(tmp_path / name, _FRAMES, **_CLIPS[name])
    copy = remux(path, tmp_path / f"flagged.{ending}", call_all_key_frames)
    try:
        require_same_sought_as_in_order(copy)
    except DecodeError as error:
        # FFmpeg too starts at the flags, and looks for references that are not there yet
        assert "co located POCs" in error.reason or "ref with POC" in error.reason or "no frame" in error.reason


@pytest.mark.parametrize("name", ["hevc_open.mp4", "hevc_open.ts", "mpeg2.ts", "mpeg2.mkv", "mpeg4_b.mkv"])
def test_a_file_that_begins_with_pictures_that_cannot_be_shown_counts_from_the_first_that_is(
    tmp_path: Path, name: str
) -> None:
    """Cut where later pictures refer to those before the cut, which decoders pass over."""
    stem, ending = name.split(".")
    mpeg4 = {"codec": "mpeg4", "options": _B}
    clip = {"hevc_open": _CLIPS["hevc_open.mp4"], "mpeg2": _CLIPS["mpeg2.ts"], "mpeg4_b": mpeg4}
    path = write_video(tmp_path / f"whole.{ending}", _FRAMES, **clip[stem])
    cut = str(remux(path, tmp_path / name, cut_off_the_first_group))
    seen = scan(cut)
    frames = list(map(Converter(seen), frames_in_order(cut)))
    assert seen.frames == len(frames) < _FRAMES
    for index in range(0, len(frames), 3):
        assert np.array_equal(read_sparse(seen, [index])[0], frames[index]), index


def test_threads_read_what_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav_reader, "_WORTH_A_THREAD", 1)
    path = str(write_video(tmp_path / "clip.mp4", 60, options={"g": "10", "bf": "2"}))
    seen, indices = scan(path), list(range(0, 60, 7))
    alone = read_sparse(seen, indices, (32, 24))
    for threads in (2, 3, 16):
        assert np.array_equal(read_sparse(seen, indices, (32, 24), threads), alone)


@pytest.mark.parametrize("step", [1, 3])
def test_frames_close_together_are_parted_at_key_frames(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyav_reader, "_WORTH_A_THREAD", 1)
    path = str(write_video(tmp_path / "clip.mp4", 60, options={"g": "10", "bf": "2"}))
    seen, indices = scan(path), list(range(0, 60, step))
    assert len(plan(seen, indices, run_up=0)) == 1
    runs = plan(seen, indices, run_up=0, enough=15)
    assert [run.key for run in runs] == [None, 2, 4]
    assert [slot for run in runs for _, slot in run.frames] == list(range(len(indices)))
    threads = list[int]()
    monkeypatch.setattr(FrameArray, "begin", _noted(FrameArray.begin, threads))
    assert np.array_equal(read_sparse(seen, indices, (32, 24), 3), read_sparse(seen, indices, (32, 24)))
    assert threads == [3, 1]


def test_runs_are_short_where_frames_wait_for_those_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FewHeld(FrameArray):
        def held(self, frames: int, height: int, width: int) -> int:
            return 20

    monkeypatch.setattr(pyav_reader, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(pyav_reader, "_RUN_BYTES", 20 * 32 * 24 * 3)
    planned = list[int]()
    monkeypatch.setattr(pyav_reader, "plan", lambda *args, **more: _counted(plan(*args, **more), planned))
    path = str(write_video(tmp_path / "clip.mp4", 120, options={"g": "10", "bf": "0"}))
    sink, seen, indices = FewHeld(), scan(path), range(120)
    pyav_reader.read_sparse_into(sink, seen, indices, (32, 24), threads=2)
    assert np.array_equal(sink.frames_THWC, read_sparse(seen, indices, (32, 24), threads=2))
    assert planned[1] == 6 and planned[3] == 4  # of 20 frames each; else as many as keep two threads busy


def _counted(runs: list[Run], counts: list[int]) -> list[Run]:
    counts.append(len(runs))
    return runs


def _noted(begin: Callable[..., None], noted: list[int]) -> Callable[..., None]:
    def note(sink: FrameArray, frames: int, height: int, width: int, threads: int) -> None:
        noted.append(threads)
        begin(sink, frames, height, width, threads)

    return note


def test_damage_that_one_of_several_threads_meets_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav_reader, "_WORTH_A_THREAD", 1)
    path = write_video(tmp_path / "clip.mp4", 60, options={"g": "10", "bf": "0"})
    seen = scan(str(path))
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][43]
    data = bytearray(path.read_bytes())
    data[packet.pos + 8 : packet.pos + 40] = b"\xff" * 32
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="damaged"):
        read_sparse(seen, [5, 25, 45], threads=3)


def test_what_was_opened_to_find_out_what_a_file_holds_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    whole = pyav_open._open_container

    def count(path: str, file: Any) -> Any:
        opened.append(path)
        return whole(path, file)

    monkeypatch.setattr(pyav_open, "_open_container", count)
    for name in ("clip.mp4", "clip.mov"):
        path = str(write_video(tmp_path / name, 30, options={"g": "10", "bf": "2"}))
        for indices in ([0, 1, 2], [17], list(range(30))):
            decode.forget_scans()
            opened.clear()
            assert [number_of(frame) for frame in decode.read_frames(path, indices)] == indices
            assert opened == [path]


def test_another_file_of_the_same_name_is_opened_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 30, options={"g": "10"})
    other = write_video(tmp_path / "other.mp4", 20, options={"g": "5"}, codec="mpeg4")
    decode.probe(str(path))
    other.replace(path)
    for index in (3, 12):
        assert [number_of(frame) for frame in decode.read_frames(str(path), [index])] == [index]
