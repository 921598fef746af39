from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from painted_videos import write_video

from liteframe.data import probe
from liteframe.data.check_command import check_command
from liteframe.data.check_rows import CheckRow
from liteframe.data.decode_pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.manifest import read_manifest
from liteframe.data.probe import check_many, check_video
from liteframe.data.pyav_reader import read_sparse
from liteframe.data.pyav_scan import Scan, scan
from liteframe.data.sampling import UniformMidpoints


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


def test_a_file_past_the_deadline_is_a_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(check_many([str(folder / "good.mp4")], processes=1, deadline_s=1e-6, progress=False))
    assert not rows[0].ok and "within 1e-06 s" in rows[0].error and "deadline_s" in rows[0].error


def test_a_frame_that_is_another_when_sought_is_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(folder / "good.mp4")
    assert check_video(path).ok

    def shifted(scan: Scan, indices: list[int]) -> np.ndarray:
        return read_sparse(scan, [min(index + 1, scan.frames - 1) for index in indices[:1]])

    monkeypatch.setattr(
        probe, "read_sparse", lambda scan, indices: np.concatenate([shifted(scan, [i]) for i in indices])
    )
    row = check_video(path)
    assert not row.ok and "when it is sought" in row.error


def test_lying_packets_are_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(folder / "good.mp4")
    true = scan(path)
    wrong = type(true)(**{**vars(true), "frames": 31, "pts_T": np.append(true.pts_T, 10**6)})
    monkeypatch.setattr(probe, "scan_cached", lambda path: wrong)
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
    assert list(rows) == names
    assert [name for name, row in rows.items() if not row.ok] == ["corrupted.mp4"]
    assert rows["cooking.mp4"].frames == 159
    assert (rows["rotated_90.mov"].width, rows["rotated_90.mov"].height) == (320, 568)
