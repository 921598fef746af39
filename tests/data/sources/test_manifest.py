from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from painted_videos import write_video

from liteframe.data.decoding.decode import probe
from liteframe.data.sources.manifest import VIDEO_SUFFIXES, read_manifest, read_manifests
from liteframe.errors import ManifestError


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_folder_is_every_video_in_it_sorted(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "deep/er/c.webm", "notes.txt", "._b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = read_manifest(tmp_path)
    assert [row.id for row in rows] == ["a.MKV", "b.mp4", "deep/er/c.webm"]
    assert all(Path(row.path).is_absolute() and Path(row.path).exists() for row in rows)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)


@pytest.mark.parametrize(
    "name, codec, pixel_format",
    [
        ("a.avif", "libsvtav1", "yuv420p"),
        ("a.apng", "apng", "rgb24"),
        ("a.nut", "libx264", "yuv420p"),
        ("a.ivf", "libvpx", "yuv420p"),
        ("a.wtv", "mpeg2video", "yuv420p"),
        ("a.264", "libx264", "yuv420p"),
        ("a.hevc", "libx265", "yuv420p"),
        ("a.obu", "libsvtav1", "yuv420p"),
        ("a.mjpeg", "mjpeg", "yuvj420p"),
    ],
)
def test_a_folder_is_searched_for_what_is_read(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    path, muxer = tmp_path / name, {"a.264": "whole.h264"}.get(name, f"whole{Path(name).suffix}")
    other = tmp_path / "other"
    other.mkdir()
    try:
        write_video(other / muxer, 8, codec=codec, pixel_format=pixel_format)
    except ValueError as error:  # of av, too: no such encoder here
        pytest.skip(str(error))
    (other / muxer).rename(path)
    (row,) = read_manifest(tmp_path)
    assert row.path == str(path) and probe(row.path).frames == 8


def test_rows_keep_all_fields_and_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    manifest = write(
        folder / "m.jsonl",
        {"path": "../clips/a.mp4", "question": "q", "options": ["x", "y"], "answer": "x", "start": 1, "end": 2.5},
        "",
        {"path": "/elsewhere/b.mp4", "id": "bee", "ok": False, "error": "no moov", "questions": [{"question": "?"}]},
        {"path": "ü.mp4", "conversations": [{"from": "human", "value": "hi"}], "fps": 3},
    )
    first, second, third = read_manifest(manifest)
    assert (first.path, first.id) == (str(tmp_path / "clips/a.mp4"), "../clips/a.mp4")
    assert (first.start, first.end, first.options, first.answer) == (1.0, 2.5, ["x", "y"], "x")
    assert (second.path, second.id, second.error) == ("/elsewhere/b.mp4", "bee", "no moov")
    assert second.as_dict()["questions"] == [{"question": "?"}]
    assert third.extra == {"fps": 3} and third.as_dict()["id"] == "ü.mp4"


def test_one_path_in_several_rows_gets_several_ids(tmp_path: Path) -> None:
    rows = read_manifest(write(tmp_path / "m.jsonl", {"path": "a.mp4"}, {"path": "a.mp4"}, {"path": "./a.mp4"}))
    assert [row.id for row in rows] == ["a.mp4", "a.mp4@2", "a.mp4@3"]


def test_ids_of_several_sources_stay_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
    rows = read_manifests([str(tmp_path / "one"), str(tmp_path / "two")])
    assert [row.id for row in rows] == ["a.mp4", "a.mp4@1"]
    assert read_manifests(str(tmp_path / "one" / "a.mp4"))[0].id == "a.mp4"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("{not json", "not JSON"),
        ("[1]", "a row is a JSON object"),
        ({"question": "no path"}, "'path'"),
        ({"path": 3}, "'path'"),
        ({"path": ""}, "'path'"),
        ({"path": "a\0.mp4"}, "'path'"),
        ({"path": "a.mp4", "id": ""}, "'id'"),
        ({"path": "a.mp4", "id": "good.mp4"}, "'id'"),
        ({"path": "a.mp4", "start": "1:00"}, "'start'"),
        ({"path": "a.mp4", "start": "-1"}, "'start'"),
        ({"path": "a.mp4", "start": True}, "'start'"),
        ({"path": "a.mp4", "end": -1}, "'end'"),
        ('{"path": "a.mp4", "end": Infinity}', "'end'"),
        ({"path": "a.mp4", "start": 2, "end": 2}, "'end'"),
        ({"path": "a.mp4", "error": 5}, "'error'"),
    ],
)
def test_bad_rows_name_file_line_and_field(tmp_path: Path, row: object, field: str) -> None:
    manifest = write(tmp_path / "m.jsonl", {"path": "good.mp4"}, row)
    with pytest.raises(ManifestError) as error:
        read_manifest(manifest)
    assert f"{manifest}:2" in str(error.value) and field in str(error.value)


def test_a_folder_of_lists_is_not_searched_for_a_video_or_two(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"train-0000{number}-of-00003.parquet").touch()
    with pytest.raises(ManifestError, match=r"no video in this folder; lists lie in it \('train-00000.*' and 2 more\)"):
        read_manifest(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "a.mp4").touch()
    with pytest.raises(ManifestError, match="1 video in this folder, and lists lie in it .*; give a list by its"):
        read_manifest(tmp_path)
    for name in "bcd":
        (tmp_path / "demo" / f"{name}.mp4").touch()
        (tmp_path / "demo" / f"{name}.json").touch()
    assert [row.id for row in read_manifest(tmp_path)] == [f"demo/{name}.mp4" for name in "abcd"]


def test_a_list_beside_videos_is_their_own(tmp_path: Path) -> None:
    for name in ("a.mp4", "list.jsonl", "a.info.json", "b.json"):
        (tmp_path / name).touch()
    assert [row.id for row in read_manifest(tmp_path)] == ["a.mp4"]


def test_what_is_not_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(tmp_path / "absent.jsonl")
    with pytest.raises(ManifestError, match="no video in this folder"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="empty"):
        read_manifest(write(tmp_path / "m.jsonl", ""))
    (tmp_path / "bin.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "bin.jsonl")


def test_links_in_a_folder_are_followed_once_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "part").mkdir(parents=True)
    (disk / "part" / "a.mp4").touch()
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "linked").symlink_to(disk / "part")
    (disk / "part" / "round").symlink_to(videos)
    assert [row.id for row in read_manifest(videos)] == ["linked/a.mp4"]
    denied = PermissionError(13, "Permission denied", str(videos))
    with (
        mock.patch("os.scandir", side_effect=denied),
        pytest.raises(ManifestError, match=r"videos: cannot be read \(Permission denied\)"),
    ):
        read_manifest(videos)


def test_a_folder_inside_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    for name in ("a.mp4", "closed/b.mp4", "open/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    scandir = os.scandir

    def scan(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with mock.patch("os.scandir", scan):
        rows = read_manifest(tmp_path, keep_unusable=True)
        with pytest.raises(ManifestError, match=r"closed: cannot be read \(Permission denied\)"):
            read_manifest(tmp_path)
    assert [row.id for row in rows if not row.error] == ["a.mp4", "open/c.mp4"]
    assert [row.path for row in rows if row.error] == [str(tmp_path / "closed")]
