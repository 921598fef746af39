"""What `liteframe check` found out about a file is as good as scanning it again, and nothing else is believed."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_videos import number_of, write_video

from liteframe.data.checking.output import CheckOutput
from liteframe.data.checking.probe import check_video
from liteframe.data.decoding import decode
from liteframe.data.decoding.decode import forget_scans
from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.decoding.pyav import scan as pyav_scan
from liteframe.data.decoding.pyav.scan import Scan, scan
from liteframe.data.decoding.pyav.scan_text import from_text, to_text
from liteframe.data.sampling import Linspace

_TIMES = np.cumsum(np.random.default_rng(0).integers(1, 200, 60)).tolist()
FILES: dict[str, dict[str, Any]] = {
    "a.mkv": {"times": _TIMES},
    "a.ts": {"options": {"g": "10", "bf": "2"}},
    "a.avi": {"codec": "mpeg4"},
    "turned.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p", "rotation": 90},
}


def row_of(path: Path) -> dict[str, Any]:
    row = check_video(str(path))
    assert row.ok, row.error
    return row.to_json()


@pytest.mark.parametrize("name", FILES)
def test_a_scan_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, 60, **FILES[name])
    found = scan(str(path))
    state = os.stat(path)
    again = from_text(to_text(found), str(path), state.st_size, state.st_mtime_ns)
    assert again is not None
    for field in fields(Scan):
        np.testing.assert_equal(getattr(again, field.name), getattr(found, field.name), field.name)
    assert len(to_text(found)) < 3000


def test_a_row_saves_the_scan_and_frames_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mkv", 60, times=_TIMES)
    row = row_of(path)
    job = DecodeJob(str(path), Linspace(by="time"), 7, start_s=1.0, row=row)
    forget_scans()
    expected = decode_job(job, {})
    monkeypatch.setattr(pyav_scan, "scan", lambda *_, **__: pytest.fail("scanned again"))
    found = decode_job(job, row)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.frames_THWC, expected.frames_THWC)
    np.testing.assert_array_equal(found.times_s, expected.times_s)


def decode_job(job: DecodeJob, row: dict[str, Any]) -> Any:
    from dataclasses import replace

    from liteframe.data.decoding.processes.job import decode as run

    forget_scans()
    return run(replace(job, row=row), "auto")


def test_where_scanning_costs_little_rows_stay_short(tmp_path: Path) -> None:
    assert "scan" not in row_of(write_video(tmp_path / "a.mp4", 30, options={"g": "10"}))


def test_a_file_that_changed_is_scanned(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 60)
    row = row_of(path)
    write_video(path, 40)
    assert decode_job(DecodeJob(str(path), Linspace(), None), row).info.frames == 40


def test_what_lies_is_found_out(tmp_path: Path) -> None:
    """Times of another video, under the size and time of this one."""
    other = row_of(write_video(tmp_path / "b.mkv", 60, times=_TIMES))
    path = write_video(tmp_path / "a.mkv", 40)
    row = {**row_of(path), "scan": other["scan"]}
    video = decode_job(DecodeJob(str(path), indices=(3, 20, 39)), row)
    assert [number_of(frame) for frame in video.frames_THWC] == [3, 20, 39]


def _changed(text: str, **changes: Any) -> str:
    head, _, data = zlib.decompress(base64.b64decode(text)).partition(b"\n")
    told = {**json.loads(head), **changes}
    return base64.b64encode(zlib.compress(json.dumps(told).encode() + b"\n" + data)).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: 3,
        lambda text: text[:-9],
        lambda text: "é" + text,
        lambda text: base64.b64encode(zlib.compress(b"[" * 9000)).decode(),
        lambda text: base64.b64encode(zlib.compress(bytes(100_000_000))).decode(),
        lambda text: _changed(text, by=[0]),
        lambda text: _changed(text, frames=59),
        lambda text: _changed(text, frames="60"),
        lambda text: _changed(text, width=-4),
        lambda text: _changed(text, counts=[60, -1, 10**9]),
        lambda text: _changed(text, counts=[60]),
        lambda text: _changed(text, orientation={"rotation": 45}),
        lambda text: _changed(text, more=1),
    ],
)
def test_a_text_of_others_is_not_believed(tmp_path: Path, change: Any) -> None:
    path = write_video(tmp_path / "a.mkv", 60)
    state = os.stat(path)
    text = change(to_text(scan(str(path))))
    assert from_text(text, str(path), state.st_size, state.st_mtime_ns) is None
    row = {"scan": text, "bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
    assert decode_job(DecodeJob(str(path), indices=(59,)), row).info.frames == 60


def test_a_check_that_goes_on_takes_the_scan_from_its_output(tmp_path: Path) -> None:
    path, output = write_video(tmp_path / "a.mkv", 30), tmp_path / "rows.jsonl"
    row = check_video(str(path))
    with CheckOutput(str(output), str(path)) as out:
        out.append(row)
    with CheckOutput(str(output), str(path)) as out:
        kept = out.kept(str(path))
    assert kept is not None and kept.scan == row.scan != ""
    assert decode.scan_cached(str(path)).whole_read
