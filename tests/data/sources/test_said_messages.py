"""Conversations that name media, weights and a system's words as others' lists do: read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import ManifestError


def asked(*parts: dict[str, Any], **of_answer: Any) -> list[dict[str, Any]]:
    content = [*parts, {"type": "text", "text": "What?"}]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": "A cat.", **of_answer}]


def read(tmp_path: Path, **fields: Any) -> VideoRow:
    (tmp_path / "x.jsonl").write_text(json.dumps(fields))
    (row,) = read_manifest(tmp_path / "x.jsonl")
    return row


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video", "video": "b/a.mp4", "fps": 1.0},
        {"type": "video", "video": "./b/a.mp4"},
        {"type": "video", "path": "b/a.mp4"},
        {"type": "video_url", "video_url": {"url": "b/a.mp4"}},
        {"type": "video_url", "video_url": "b/a.mp4"},
    ],
)
def test_a_video_that_a_message_names_is_the_rows(part: dict[str, Any], tmp_path: Path) -> None:
    alone = read(tmp_path, messages=asked(part))
    assert alone.path == str(tmp_path / "b" / "a.mp4")
    for said in ({"video": "b/a.mp4"}, {"path": str(tmp_path / "b" / "a.mp4")}, {"videos": ["b/a.mp4"]}):
        row = read(tmp_path, conversations=asked(part), **said)
        assert row.path == alone.path and turns_of(row.as_dict()) == [("What?", "A cat.")]


def test_a_message_that_names_another_video_or_a_part_is_named(tmp_path: Path) -> None:
    for part, named in (
        ({"video": "c.mp4"}, "turn 1 names 'c.mp4', and the row's video is 'a.mp4'"),
        ({"video": "xa.mp4"}, "turn 1 names 'xa.mp4'"),
        ({"video": ["1.jpg", "2.jpg"]}, "turn 1 names ['1.jpg', '2.jpg']"),
        ({"video": "a.mp4", "video_start": 3}, "turn 1 has a 'video_start' of its own"),
    ):
        with pytest.raises(ManifestError) as error:
            read(tmp_path, video="a.mp4", messages=asked({"type": "video", **part}))
        assert "x.jsonl:1: field 'conversations'" in str(error.value) and named in str(error.value)
    two = asked({"type": "video", "video": "a.mp4"}, {"type": "video", "video": "b.mp4"})
    with pytest.raises(ManifestError, match="field 'path' "):
        read(tmp_path, messages=two)


def test_fields_of_one_meaning_that_differ_are_named(tmp_path: Path) -> None:
    talk = asked()
    with pytest.raises(ManifestError, match="fields 'video' and 'videos': name different videos"):
        read(tmp_path, video="a.mp4", videos=["b.mp4"], messages=talk)
    with pytest.raises(ManifestError, match="fields 'conversations' and 'messages': say different things"):
        read(tmp_path, video="a.mp4", messages=talk, conversations=asked(loss=True))
    row = read(tmp_path, video="a.mp4", videos=["a.mp4"], messages=talk, conversations=talk)
    assert row.path == str(tmp_path / "a.mp4") and row.conversations == talk
    assert read(tmp_path, video="a.mp4", messages=talk, conversations=None).conversations == talk
    assert read(tmp_path, video=None, videos=["a.mp4"], messages=talk).path == str(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "x.jpg"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "audio", "audio": "x.wav"},
        {"type": "audio"},
        {"type": "tool_use", "text": "x"},
        {"text": "of no kind"},
    ],
)
def test_parts_that_are_no_video_are_not_taken_for_it(part: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="field conversations: turn 1 "):
        turns_of({"path": "a.mp4", "conversations": asked(part)})
    assert turns_of({"conversations": asked({"type": "image"})}) == [("What?", "A cat.")]


@pytest.mark.parametrize("name", ["image", "images", "audio", "audios"])
def test_a_conversation_about_other_media_is_named(name: str) -> None:
    for value in ("x.jpg", ["x.jpg"], {"path": "x.jpg"}):
        with pytest.raises(ManifestError, match=f"field {name}: the row has "):
            turns_of({"path": "a.mp4", "conversations": asked(), name: value})
    for value in (None, "", [], True):
        assert turns_of({"conversations": asked(), name: value}) == [("What?", "A cat.")]
    assert turns_of({"question": "q", "answer": "a", name: "thumb.jpg"}) == [("q", "a")]


@pytest.mark.parametrize("share", [{"loss": False}, {"weight": 0}, {"loss_scale": 0.5}, {"train": False}])
def test_an_answer_that_is_not_to_be_learnt_is_named(share: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="field conversations: turn 2 has '") as error:
        turns_of({"path": "a.mp4", "conversations": asked(**share)})
    assert next(iter(share)) in str(error.value)
    whole = asked(loss=True, weight=1, loss_scale=None)
    whole[0]["loss"] = False
    assert turns_of({"conversations": whole}) == [("What?", "A cat.")]


def test_a_rows_system_is_said_first() -> None:
    talk = asked()
    told = [("Be short.\n\nWhat?", "A cat.")]
    assert turns_of({"conversations": talk, "system": "Be short."}) == told
    both = [{"role": "system", "content": "Be short."}, *talk]
    assert turns_of({"conversations": both, "system": "Be short."}) == told
    assert turns_of({"conversations": talk, "system": " "}) == turns_of({"conversations": talk, "system": None})
    with pytest.raises(ManifestError, match="field system: says something else than the system turn"):
        turns_of({"path": "a.mp4", "conversations": both, "system": "Be long."})
