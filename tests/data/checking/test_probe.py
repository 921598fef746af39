from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from painted_videos import number_of, write_sizes, write_video

from liteframe.data.checking import frames as check_frames
from liteframe.data.checking import places as check_places
from liteframe.data.checking import probe
from liteframe.data.checking.command import check_command
from liteframe.data.checking.places import Odd, read_place
from liteframe.data.checking.probe import check_many, check_video
from liteframe.data.checking.rows import CheckRow
from liteframe.data.decoding import decord_reader
from liteframe.data.decoding.decode import NEXT
from liteframe.data.decoding.processes import pool as decode_pool
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.decoding.pyav.reader import TableMismatch, read_sparse
from liteframe.data.decoding.pyav.scan import Scan, scan
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import DecodeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good files and two bad ones."""
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "good.mp4", 30, options={"g": "12"})
    write_video(videos / "open.mkv", 30, options={"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"})
    (videos / "empty.mp4").touch()
    (videos / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    return videos


def test_command_lists_every_file_and_its_jsonl_is_a_manifest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "check.jsonl"
    assert check_command(str(folder), str(output)) == 1
    printed = capsys.readouterr().out
    assert "2 of 4 files usable" in printed and "NOT USABLE: the file is empty" in printed
    rows = {Path(row["path"]).name: row for row in map(json.loads, output.read_text().splitlines())}
    assert set(rows) == {"good.mp4", "open.mkv", "empty.mp4", "noise.avi"}
    assert "error" not in rows["good.mp4"] and "empty" in rows["empty.mp4"]["error"]
    assert rows["good.mp4"]["frames"] == 30 and rows["good.mp4"]["codec"] == "h264"
    assert rows["open.mkv"]["decoder"] == "pyav"
    usable = {Path(row.path).name: row for row in read_manifest(output) if row.error is None}
    assert set(usable) == {"good.mp4", "open.mkv"}
    jobs = [DecodeJob(row.path, UniformMidpoints(), 4, row={"decoder": "pyav"}) for row in usable.values()]
    with DecodePool() as pool:
        assert all(isinstance(video, VideoFrames) and video.info.decoder == "pyav" for video in pool.run(jobs))


def test_command_is_zero_where_all_is_usable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_command(str(folder / "good.mp4")) == 0
    assert "1 of 1 files usable" in capsys.readouterr().out


def test_a_file_past_the_deadline_is_a_row(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", 2000)
    rows = list(check_many([str(path)], processes=1, deadline_s=1e-6, progress=False))
    assert not rows[0].ok and "no answer within" in rows[0].error and "--deadline_s" in rows[0].error


def test_a_frame_that_is_another_when_sought_is_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(folder / "good.mp4")
    assert check_video(path).ok

    def shifted(scan: Scan, indices: list[int]) -> np.ndarray:
        return read_sparse(scan, [min(index + 1, scan.frames - 1) for index in indices[:1]])

    monkeypatch.setattr(
        check_frames, "read_sparse", lambda scan, indices: np.concatenate([shifted(scan, [i]) for i in indices])
    )
    row = check_video(path)
    assert not row.ok and "when it is sought" in row.error


def test_lying_packets_are_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(folder / "good.mp4")
    true = scan(path)
    wrong = type(true)(**{**vars(true), "frames": 31, "pts_T": np.append(true.pts_T, 10**6)})
    monkeypatch.setattr(probe, "scan_cached", lambda path, truncated: wrong)
    row = check_video(path)
    assert (row.ok, row.frames, row.decoder) == (True, 30, "pyav") and "announces 31 frames" in row.reason


def test_a_file_damaged_in_its_middle_is_not_usable(folder: Path) -> None:
    path = folder / "good.mp4"
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    row = check_video(str(path))
    assert not row.ok and "damage" in row.error and row.codec == "h264"


def test_shared_videos(shared_videos: Path) -> None:
    names = ["av1.mkv", "cooking.mp4", "corrupted.mp4", "h265.mp4", "odd_size_vp9.mp4", "rotated_90.mov"]
    rows: dict[str, CheckRow] = {}
    for row in check_many([str(shared_videos / name) for name in names], progress=False):
        rows[Path(row.path).name] = row
    assert set(rows) == set(names)
    assert [name for name, row in rows.items() if not row.ok] == ["corrupted.mp4"]
    assert rows["cooking.mp4"].frames == 159
    assert (rows["rotated_90.mov"].width, rows["rotated_90.mov"].height) == (320, 568)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos of more than 40 frames are long ones."""
    for name, value in {"MOST_WHOLE": 40, "_ENOUGH": 60, "_SHORTEST": 20}.items():
        monkeypatch.setattr(check_places, name, value)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """255 frames, the most that can be told apart, a key frame every 12."""
    return write_video(tmp_path_factory.mktemp("long") / "a.mkv", 255, options={"g": "12", "bf": "2"})


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the frames that are taken in order from now on."""
    numbers: list[int] = []
    take = check_frames._InOrder.take

    def noting(self: Any, frames: Iterator[tuple[int, Any]]) -> None:
        def noted() -> Iterator[tuple[int, Any]]:
            for position, frame in frames:
                assert number_of(frame.to_ndarray(format="rgb24")) == position
                numbers.append(position)
                yield position, frame

        take(self, noted())

    monkeypatch.setattr(check_frames._InOrder, "take", noting)
    return numbers


@pytest.mark.usefixtures("few")
def test_of_a_long_video_places_are_decoded_and_the_row_says_how_many(
    long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = decoded(monkeypatch)
    row = check_video(str(long_video))
    assert row.ok and row.frames == 255 and row.verified == len(numbers) == len(set(numbers)) < 120
    assert {0, 254} <= set(numbers), "start and end among them"
    assert f"{row.verified} frames decoded" in row.note()
    numbers.clear()
    row = check_video(str(long_video), full=True)
    assert numbers == list(range(255)) and row.verified == 255 and row.note() == ""


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("options", ["keyint=250:scenecut=0", "keyint=90:min-keyint=90:scenecut=0"])
def test_where_places_save_nothing_all_is_decoded(options: str, tmp_path: Path) -> None:
    row = check_video(str(write_video(tmp_path / "a.mp4", 200, options={"x264-params": options})))
    assert row.ok and row.verified == row.frames == 200


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "open.mkv", {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}),
        ("mpeg4", "a.avi", {"g": "12", "bf": "0"}),
        ("mjpeg", "b.mkv", {}),
    ],
)
def test_places_of_every_structure_are_found(
    codec: str, name: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / name, 255, codec, options, pixel_format=pixels)
    decoded(monkeypatch)
    row = check_video(str(path))
    assert row.ok and row.frames == 255 and row.reason == "", row


@pytest.mark.usefixtures("few")
def test_what_is_odd_in_a_place_is_decided_by_the_whole(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [Odd(), DecodeError("x", "by design"), TableMismatch()]

    def fails(*_: object) -> Iterator[tuple[int, Any]]:
        raise odd.pop()

    monkeypatch.setattr(check_frames, "read_place", fails)
    for _ in range(3):
        row = check_video(str(long_video))
        assert row.ok and row.verified == 255


@pytest.mark.usefixtures("few")
def test_damage_in_a_place_is_found(long_video: Path, tmp_path: Path) -> None:
    """Also such as the decoder conceals, with all frames at their times; what is ahead of the place does not matter."""
    with av.open(str(long_video)) as container:
        key = [packet for packet in container.demux(video=0) if packet.is_keyframe][-1]
        packed, size = bytes(key), key.size
    data = bytearray(long_video.read_bytes())
    middle = data.index(packed) + size // 2
    data[middle : middle + size // 3] = b"\xff" * (size // 3)
    path = tmp_path / "bad.mkv"
    path.write_bytes(data)
    row = check_video(str(path))
    assert not row.ok and "damaged" in row.error
    found = scan(str(path))
    parts = check_places.places(found)
    with pytest.raises(Odd):
        list(read_place(found, *parts[-1]))
    assert [position for position, _ in read_place(found, *parts[0])] == list(parts[0][1])


@pytest.mark.usefixtures("few")
def test_another_frame_when_sought_is_found_in_places(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_frames, "read_sparse", lambda scan, indices: read_sparse(scan, [indices[0] ^ 1]))
    row = check_video(str(long_video), verify_frames=1)
    assert not row.ok and "when it is sought" in row.error


def test_memory_does_not_grow_with_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the frames, samples are kept at the positions that are compared; four whole ones at most."""
    held: list[int] = []
    monkeypatch.setattr(check_frames, "read_sparse", lambda *given: held.append(len(given[1])) or read_sparse(*given))
    monkeypatch.setattr(check_frames, "_sample", lambda frame: held.append(0) or frame[:2, :2].copy())
    assert check_video(str(write_video(tmp_path / "a.mp4", 120)), verify_frames=10).ok
    assert held.count(0) == 20 and max(held) == 4


def test_a_single_picture_is_told(tmp_path: Path) -> None:
    assert "single picture" in check_video(str(write_video(tmp_path / "a.mp4", 1))).note()


def test_a_change_of_size_is_told(tmp_path: Path) -> None:
    path = str(write_sizes(tmp_path / "a.webm"))
    row = check_video(path)
    assert row.ok and row.frames == 8 and "from 64x64 to 128x96 on the way" in row.note(), row


def crashes(path: str, *rest: Any) -> CheckRow:
    """As if PyAV crashed on the file."""
    if rest[-1] != NEXT:
        os.kill(os.getpid(), signal.SIGSEGV)
    return check_video(path, *rest)


@pytest.mark.skipif(not decord_reader.available(), reason="decord is not installed")
def test_what_the_next_decoder_reads_is_usable_as_in_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = decode_pool.request
    monkeypatch.setattr(
        decode_pool,
        "request",
        lambda _, arguments: asked("test_probe:crashes", arguments, [str(Path(__file__).parent)]),
    )
    good, bad = sorted(
        check_many([str(folder / "good.mp4"), str(folder / "open.mkv")], 1, progress=False), key=lambda row: row.path
    )
    assert (good.ok, good.decoder, good.frames, good.verified) == (True, "decord", 30, 16)
    assert "PyAV crashed" in good.note()
    assert not bad.ok and bad.passing and "SIGSEGV" in bad.error
