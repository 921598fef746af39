"""Conversations that name media, weights and a system's words as others' lists do: read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.conversations import choices_of, turns_of
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
        assert "x.jsonl:1: field 'messages'" in str(error.value) and named in str(error.value)
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


def test_a_rows_system_is_said_first() -> None:
    talk = asked()
    told = [("Be short.\n\nWhat?", "A cat.")]
    assert turns_of({"conversations": talk, "system": "Be short."}) == told
    both = [{"role": "system", "content": "Be short."}, *talk]
    assert turns_of({"conversations": both, "system": "Be short."}) == told
    assert turns_of({"conversations": talk, "system": " "}) == turns_of({"conversations": talk, "system": None})
    with pytest.raises(ManifestError, match="field system: says something else than the system turn"):
        turns_of({"path": "a.mp4", "conversations": both, "system": "Be long."})


def test_a_turn_in_both_spellings_says_the_same_in_both() -> None:
    both = [{**turn, "from": turn["role"], "value": turn["content"]} for turn in asked()]
    assert turns_of({"conversations": both}) == [("What?", "A cat.")]
    half = [{**turn, "from": None, "value": None} for turn in asked()]
    assert turns_of({"conversations": half}) == [("What?", "A cat.")]
    for name, other in (("value", "A dog."), ("from", "system")):
        with pytest.raises(ManifestError, match="turn 2 says different things in 'f?r?o?m?v?a?l?u?e?' and "):
            turns_of({"conversations": [both[0], {**both[1], name: other}]})


def test_a_speaker_of_two_names_is_one_where_they_mean_the_same() -> None:
    talk = [
        {"from": "human", "role": "user", "value": "What?"},
        {"from": "gpt", "role": "Assistant", "value": "A cat."},
    ]
    assert turns_of({"conversations": talk}) == [("What?", "A cat.")]
    parts = [{"type": "video"}, {"type": "text", "text": "What?"}]
    for text in ("<video>What?", "<video>\nWhat?"):
        turns = [{"role": "user", "content": parts, "value": text}, talk[1]]
        assert turns_of({"conversations": turns}) == [("What?", "A cat.")]
    for other in ("system", "narrator", 3):
        with pytest.raises(ManifestError, match="turn 1 says different things in 'from' and 'role'"):
            turns_of({"conversations": [{**talk[0], "role": other}, talk[1]]})


def test_one_conversation_in_two_spellings_is_one(tmp_path: Path) -> None:
    shared = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
    chat = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "A cat.", "name": None}]
    assert read(tmp_path, video="a.mp4", conversations=shared, messages=chat).conversations == shared
    for other in ([], [*chat, *chat], [chat[0], {**chat[1], "content": "A dog."}], [chat[0], "A cat."], "A cat."):
        if other:
            with pytest.raises(ManifestError, match="fields 'conversations' and 'messages': say different things"):
                read(tmp_path, video="a.mp4", conversations=shared, messages=other)


@pytest.mark.parametrize(
    "turn",
    [
        {"content": None, "value": [{"type": "video", "video": "b.mp4"}, {"type": "text", "text": "What?"}]},
        {"content": [{"type": "video", "video": "b.mp4", "url": None}], "value": None},
        {"content": "<video>What?", "value": [{"type": "video", "video": "b.mp4"}]},
        {"content": [{"type": "video", "video": None, "path": "b.mp4"}]},
        {"content": [{"type": "video_url", "video_url": {"url": None, "path": "b.mp4"}}]},
        {"content": [{"type": "video", "video": {"src": "b.mp4", "path": None}}]},
        {"content": "<video>What?", "videos": ["b.mp4"]},
        {"content": "<video>What?", "video": {"path": "b.mp4"}, "videos": None},
    ],
)
def test_no_null_hides_the_video_that_a_turn_names(turn: dict[str, Any], tmp_path: Path) -> None:
    talk = [{"role": "user", **turn}, {"role": "assistant", "content": "A cat.", "value": None}]
    with pytest.raises(ManifestError, match="turn 1 names 'b.mp4', and the row's video is 'a.mp4'"):
        read(tmp_path, video="a.mp4", messages=talk)
    assert read(tmp_path, video="b.mp4", messages=talk).path == read(tmp_path, messages=talk).path


def test_nulls_that_a_table_fills_in_hide_nothing(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    parts = [{"type": "video", "video": "b.mp4"}, {"type": "text", "text": "What?"}]
    talk = [{"role": "user", "value": parts}, {"role": "assistant", "value": [{"type": "text", "text": "A cat."}]}]
    rows = [{"video": "a.mp4", "messages": talk}, {"video": "b.mp4", "messages": [{"role": "user", "content": "Hm."}]}]
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(ManifestError, match="turn 1 names 'b.mp4', and the row's video is 'a.mp4'"):
        read_manifest(tmp_path / "x.parquet")


def test_a_developer_speaks_as_the_system_does() -> None:
    turns = [{"role": "developer", "content": "Be brief."}, *asked()]
    assert turns_of({"conversations": turns}) == [("Be brief.\n\nWhat?", "A cat.")]
    parts = [{"type": "text", "text": "Be brief."}]
    assert turns_of({"conversations": asked(), "system": parts}) == [("Be brief.\n\nWhat?", "A cat.")]
    with pytest.raises(ManifestError, match="field system: a text is needed, not"):
        turns_of({"conversations": asked(), "system": {"text": "Be brief."}})


@pytest.mark.parametrize(
    "mark",
    [
        "<|video|>",
        "<VIDEO>",
        "<Video><VideoHere></Video>",
        "<audio>",
        "<speech>",
        "<image_1>",
        "<|image_1|>",
        "<frame0>",
        "<video_token_1>",
        "<ref-object>",
        "<bbox>",
        "<bbox0>",
        "<region>",
    ],
)
def test_what_stands_for_other_media_in_a_question_is_named(mark: str) -> None:
    turns = [{"from": "human", "value": f"<video>\nWhat is {mark}?"}, {"from": "gpt", "value": "A cat."}]
    with pytest.raises(ManifestError, match=r"field conversations: holds '<.+'.*leave it out of turn 1"):
        turns_of({"path": "a.mp4", "conversations": turns})
    with pytest.raises(ManifestError, match="field question: holds '<"):
        choices_of({"path": "a.mp4", "question": mark, "options": ["a", "b"], "answer": "a"})


def test_places_in_an_answer_are_texts_where_they_are_written_out() -> None:
    for text in ("<bbox>1, 2, 3, 4</bbox>", "<box>[[1, 2, 3, 4]]</box>", "HTML has <video>, <audio> and <img src=x>."):
        turns = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": text}]
        assert turns_of({"conversations": turns}) == [("What?", text)]
    with pytest.raises(ManifestError, match="holds '<bbox>'.*leave it out of turn 2"):
        turns_of({"conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "<bbox>"}]})
    asked_of_html = {"question": "Which tag?", "options": ["<video>", "<audio>"], "answer": "<audio>"}
    assert choices_of({"path": "a.mp4", **asked_of_html})[0]["options"] == ["<video>", "<audio>"]


@pytest.mark.parametrize(
    ("path", "video", "two"),
    [
        ("a.mp4", "b.mp4", True),
        ("clips/1.mp4", ["full/1.mp4"], True),
        ("a.mp4", {"bytes": None, "path": "b.webm"}, True),
        ("videos/a.mp4", "/data/videos/a.mp4", False),
        ("videos\\a.mp4", "a.mp4", False),
        ("a.mp4", "G_10293", False),
        ("a.mp4", {"fps": 25}, False),
    ],
)
def test_a_row_whose_path_and_video_are_two_files_is_refused(path: str, video: Any, two: bool, tmp_path: Path) -> None:
    if not two:
        assert read(tmp_path, path=path, video=video)
        return
    with pytest.raises(
        ManifestError, match=r"x\.jsonl:1: fields 'path' and 'video': name different videos, .* keep one"
    ):
        read(tmp_path, path=path, video=video)
