"""A row is about one video: empty columns beside it are none, and another file is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ManifestError

TALK = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A cat."}]
SHOWN = [
    {"role": "user", "content": [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "A cat."},
]
NAN = float("nan")


def path_of(tmp_path: Path, row: dict[str, Any]) -> str:
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    (found,) = read_manifest(tmp_path / "x.jsonl")
    return str(Path(found.path).relative_to(tmp_path))


@pytest.mark.parametrize(
    "row",
    [
        {"video": "a.mp4", "videos": []},
        {"video": "", "videos": ["a.mp4"]},
        {"video": None, "videos": [{"path": "a.mp4", "bytes": None}]},
        {"video": {"path": None, "bytes": None}, "videos": ["a.mp4"]},
        {"video": NAN, "videos": "a.mp4"},
        {"videos": [""], "video": "a.mp4"},
        {"messages": SHOWN, "videos": []},
        {"messages": SHOWN, "video": "", "conversations": []},
        {"path": None, "video": "a.mp4"},
        {"path": "", "videos": ["a.mp4"], "conversations": "", "messages": TALK, "options": "", "questions": ""},
        {"path": "a.mp4", "video": "", "videos": []},
    ],
)
def test_empty_columns_of_a_list_name_no_video(row: dict[str, Any], tmp_path: Path) -> None:
    assert path_of(tmp_path, row) == "a.mp4"


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"clip": "clips/tt0117571_0012.mp4"}, "'clip': name different videos, 'films/a.mp4' and 'clips/tt01"),
        ({"clip_path": "b.mp4"}, "'clip_path'"),
        ({"video_path": "b.MKV"}, "'video_path'"),
        ({"clip_name": "b.mp4"}, "'clip_name'"),
        ({"video_2": "b.mp4"}, "'video_2'"),
        ({"video1": "films/a.mp4", "video2": "b.mp4"}, "'video2'"),
        ({"media": ["a.mp4", "b.mp4"]}, "'media'"),
        ({"file": {"path": "b.mp4"}}, "'file'"),
        ({"questions": [{"question": "q", "answer": "a", "video": "b.mp4"}]}, "item 1 of 'questions': fields"),
    ],
)
def test_another_video_beside_is_refused(fields: dict[str, Any], named: str, native: bool, tmp_path: Path) -> None:
    own = "path" if native else "video"
    with pytest.raises(ManifestError, match=rf"x\.jsonl:1: .*fields '{own}' and '") as error:
        path_of(tmp_path, {own: "films/a.mp4", "conversations": TALK, **fields})
    assert named in str(error.value)


def test_a_path_and_several_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="fields 'path' and 'videos': name different videos, 'a.mp4' and 'b.mp4'"):
        path_of(tmp_path, {"path": "a.mp4", "videos": ["a.mp4", "b.mp4"]})


@pytest.mark.parametrize("native", [False, True])
def test_other_names_of_the_same_video_are_its_own(native: bool, tmp_path: Path) -> None:
    fields = {
        **{"video_path": "/disk/a.mp4", "clip_name": "A.avi", "video_id": "a", "file_name": "a", "media": 3},
        **{"contentUrl": "https://x.org/b.mp4", "video_url": "s3://x/b.mp4", "youtube_id": "zz", "clip": ""},
        **{"source_video": "film.mp4", "video_name": "A walk. By night", "clip_id": "b_3"},
        "questions": [{"question": "q", "answer": "a", "video": "films/a.mp4"}],
    }
    assert path_of(tmp_path, {("path" if native else "video"): "films/a.mp4", **fields}) == "films/a.mp4"
    (tmp_path / "y.jsonl").write_text(json.dumps({"video": "https://x.org/a.mp4?b=1", "file_name": "0012.mp4"}))
    assert read_manifest(tmp_path / "y.jsonl")[0].path == "https://x.org/a.mp4?b=1"
    assert path_of(tmp_path, {"video": "v_1.5", "video_name": "v_1.5.mp4"}) == "v_1.5"


def test_objects_in_place_of_a_video_may_be_the_rows(tmp_path: Path) -> None:
    videos = [{"video_id": f"video{number}", "start time": 3.0, "end time": 7.0} for number in range(3)]
    with pytest.raises(ManifestError, match="field 'videos': holds 3 objects; if they are the rows, write these alone"):
        path_of(tmp_path, {"info": {}, "videos": videos, "sentences": [{"caption": "a", "video_id": "video0"}]})


def test_what_is_wrong_with_messages_is_said_of_them(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="field 'messages': turn 1 names 'a.mp4', and the row's video is 'b.mp4'"):
        path_of(tmp_path, {"video": "b.mp4", "messages": SHOWN})
    with pytest.raises(ManifestError, match="field 'messages': turn 1 has a 'start' of its own"):
        path_of(tmp_path, {"video": "a.mp4", "messages": [{**TALK[0], "start": 3}, TALK[1]]})
    (tmp_path / "x.jsonl").write_text(json.dumps({"video": "a.mp4", "messages": "hi"}))
    (row,) = read_manifest(tmp_path / "x.jsonl")
    with pytest.raises(ManifestError, match="field 'messages': a list of objects is needed, not 'hi'"):
        turns_of(row.as_dict())
