"""A row's part of its video, under the names that lists of the field have for it: read, or refused by name."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.manifest import read_manifest
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import ManifestError

TALK = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A cat."}]


def read(tmp_path: Path, fields: dict[str, Any], native: bool) -> VideoRow:
    row = {("path" if native else "video"): "a.mp4", "conversations": TALK, **fields}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    (found,) = read_manifest(tmp_path / "x.jsonl")
    return found


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"start": 3, "end": 7.5}, (3.0, 7.5)),
        ({"video_start": 3, "video_end": 7.5}, (3.0, 7.5)),
        ({"video_start": 3}, (3.0, None)),
        ({"start": 0, "start_time": 3, "end_time": 7}, (0.0, None)),
        ({"start": None, "end": None, "video_start": None}, (None, None)),
        ({"start_time": None, "end_time": None}, (None, None)),
        ({"start_time": "in the morning", "end_time": "at night"}, (None, None)),
        ({"start_time": 3}, (None, None)),
        ({"duration": 7, "timestamp": [3, 7], "spans": [[3, 7]], "clip": "a_3", "bound": True}, (None, None)),
        ({"segment": 4, "clip": [1, 2, 3], "video_range": "day - night", "segments": [3, 7]}, (None, None)),
        ({"start_time": 0, "duration": 7}, (None, None)),
        ({"start_time": "00:00", "length": 7}, (None, None)),
        ({"start": 0, "duration": 7}, (0.0, None)),
        ({"start": 3, "end": 7, "duration": 60}, (3.0, 7.0)),
        ({"start": 3, "video_duration": 60}, (3.0, None)),
        ({"start_time": 0, "end_time": None, "stop": ""}, (None, None)),
        ({"start_time": None, "end_time": ""}, (None, None)),
        ({"start_times": [3, 9], "end_times": [7, 12]}, (None, None)),
        ({"start": 0, "stop": "when all is done"}, (0.0, None)),
        ({"clip": "2021-05"}, (None, None)),
        ({"clip": "0001-0002", "time_range": "2009-2011", "video_range": "0001 to 0120"}, (None, None)),
        ({"clip": ["0001", "0002"], "segment": "1-2", "time": "10:30"}, (None, None)),
        ({"time": "2021-05-01", "clip": "a-b", "segment": "[a, b]"}, (None, None)),
        ({"restart": 1, "weekend": 2, "starter": 1, "ender": 2}, (None, None)),
    ],
)
def test_parts_are_read(fields: dict[str, Any], part: tuple[Any, Any], native: bool, tmp_path: Path) -> None:
    row = read(tmp_path, fields, native)
    assert (row.start, row.end) == part


def test_a_clip_is_a_part_in_lists_as_internvl_reads_them(tmp_path: Path) -> None:
    row = read(tmp_path, {"clip": [3, 7.5]}, native=False)
    assert (row.start, row.end, row.extra) == (3.0, 7.5, {})
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'clip': tells a part of the video"):
        read(tmp_path, {"clip": [3, 7.5]}, native=True)
    row = read(tmp_path, {"clip": [3, 7.5], "start": 0}, native=True)
    assert (row.start, row.end, row.extra) == (0.0, None, {"clip": [3, 7.5]})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"start_time": 3, "end_time": 7}, "'start_time': with 'end_time'"),
        ({"time_start": 3, "time_end": 7}, "'time_start': with 'time_end'"),
        ({"Start_timestamp": "00:00:03.0", "End_timestamp": "00:00:07"}, "'Start_timestamp'"),
        ({"Start": 3, "End": 7}, "'Start'"),
        ({"start_frame": 90, "end_frame": 210}, "'start_frame'"),
        ({"begin": 3, "end_sec": "7.5s"}, "'begin': with 'end_sec'"),
        ({"segment_start": 3, "segment_end": 7}, "'segment_start'"),
        ({"bound": [3, 7]}, "'bound'"),
        ({"bound": [[3, 7]]}, "'bound'"),
        ({"clip": ["00:03", "00:07,5"]}, "'clip'"),
        ({"clip": {"start": 3, "end": 7}}, "'clip'"),
        ({"segment": [3, 7]}, "'segment'"),
        ({"time_range": "00:03-00:07"}, "'time_range'"),
        ({"video_interval": "3 to 7.5"}, "'video_interval'"),
        ({"start_time": "1m30s", "end_time": "1h 2m"}, "'start_time': with 'end_time'"),
        ({"t_start": 3, "t_end": 7}, "'t_start': with 't_end'"),
        ({"start_t": 3, "end_t": 7}, "'start_t': with 'end_t'"),
        ({"start_time_sec": 3, "end_time_sec": 7}, "'start_time_sec'"),
        ({"start_in_seconds": 3, "end_in_seconds": 7}, "'start_in_seconds'"),
        ({"video_clip_start": 3, "video_clip_end": 7}, "'video_clip_start'"),
        ({"start_time": ["3"], "end_time": ["7"]}, "'start_time': with 'end_time'"),
        ({"start_time": "00:00:03", "end_time": "00:00:07:12"}, "'start_time': with 'end_time'"),
        ({"start_time": "00:00:03:00", "end_time": "00:00:07;12"}, "'start_time': with 'end_time'"),
        ({"start_time": 3, "end_time": "the end"}, "'start_time': with 'end_time'"),
        ({"start_time": {"s": 3}, "end_time": 7}, "'start_time': with 'end_time'"),
        ({"start_time": 3, "end_time": None}, "'start_time': with 'end_time'"),
        ({"start_time": "", "end_time": 7}, "'start_time': with 'end_time'"),
        ({"start_time": 0, "end_time": "the end"}, "'start_time': with 'end_time'"),
        ({"start_time": "3 sec", "end_time": "7 seconds"}, "'start_time': with 'end_time'"),
        ({"start_time": "3000ms", "end_time": "7000 ms"}, "'start_time': with 'end_time'"),
        ({"start": 3, "end_time": "the end"}, "'end_time'"),
        ({"video_clip": [3, 7]}, "'video_clip'"),
        ({"time": [3, 7]}, "'time'"),
        ({"time": "0:03-0:07"}, "'time'"),
        ({"start_end": [3, 7]}, "'start_end'"),
        ({"bound": "[3, 7]"}, "'bound'"),
        ({"clip": "(3.0,7.0)"}, "'clip'"),
        ({"clip": "3s-7s"}, "'clip'"),
        ({"segment": "3.0 -> 7.5"}, "'segment'"),
        ({"time_range": "3-7"}, "'time_range'"),
        ({"clip": ["3", "7"]}, "'clip'"),
        ({"start_time": 3, "duration": 4}, "'start_time': with 'duration'"),
        ({"begin": "00:03", "clip_length": "4s"}, "'begin': with 'clip_length'"),
        ({"start": 3, "duration": 4}, "'duration': may end the part that starts at 3.0 s"),
        ({"start": 3, "end_time": 7}, "'end_time'"),
        ({"start_time": 3, "end": 7}, "'start_time'"),
        ({"video_start": 7, "video_end": 3}, "'video_end': 3.0 s is not after the start at 7.0 s"),
        ({"video_start": "00:03", "video_end": 7}, "'video_start': seconds from 0 on are needed"),
        (
            {"questions": [{"question": "q", "answer": "a"}, {"question": "q", "answer": "a", "start": 3}]},
            "item 2 has a",
        ),
        (
            {"questions": [{"question": "q", "answer": "a", "t_start": "0:03", "t_end": "0:00:07:12"}]},
            "'t_start' of its own",
        ),
        ({"questions": [{"question": "q", "answer": "a", "start_time": 3, "end_time": 4}]}, "'start_time' of its own"),
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_what_is_not_read_is_named(fields: dict[str, Any], named: str, native: bool, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field '") as error:
        read(tmp_path, fields, native)
    assert named in str(error.value)


def test_a_clip_or_a_video_that_cannot_be_a_part_is_named(tmp_path: Path) -> None:
    for fields, named in (
        ({"clip": [7, 3]}, "'clip': 3 s is not after the start at 7 s"),
        ({"clip": [-1, 3]}, "'clip': seconds from 0 on"),
        ({"video": {"path": "a.mp4", "start": 3}}, "'video': has a 'start' of its own"),
        (
            {"video": None, "videos": [{"path": "a.mp4", "start_time": 3, "end_time": 7}]},
            "'videos': has a 'start_time'",
        ),
    ):
        with pytest.raises(ManifestError) as error:
            read(tmp_path, fields, native=False)
        assert named in str(error.value)


def test_a_part_in_a_url_is_named(tmp_path: Path) -> None:
    for url in ("https://x.org/a.mp4#t=10,20", "HTTP://x.org/a.mp4?b=1#x=1&t=npt:0:10"):
        with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'video': its URL asks for a part \(#t="):
            read(tmp_path, {"video": url}, native=False)
    for url in ("https://x.org/a.mp4?t=10", "https://x.org/a.mp4#top", "s3://b/a#t=1.mp4"):
        assert read(tmp_path, {"path": url}, native=True).path == url


def test_moments_of_parquet_are_moments(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    row = {"path": "a.mp4", "start_time": timedelta(seconds=3), "end_time": timedelta(seconds=7)}
    write_table(pyarrow.Table.from_pylist([row]), tmp_path / "x.parquet")
    with pytest.raises(ManifestError, match="row 1: field 'start_time': with 'end_time'"):
        read_manifest(tmp_path / "x.parquet")
