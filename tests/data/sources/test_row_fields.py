"""What the fields of a row may be, and that none of them names code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.checking.source_check import check_source
from liteframe.data.decoding.decode import DECODERS
from liteframe.data.sources.manifest import read_manifest
from liteframe.data.sources.row_fields import DECODER_CHOICES
from liteframe.errors import ManifestError


def listed(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_choices_are_those_of_decoding() -> None:
    assert set(DECODER_CHOICES) == set(DECODERS)


@pytest.mark.parametrize("field", ["path", "video"])
@pytest.mark.parametrize(
    "name", ["shutil:rmtree", "torch.hub:_load_local", "os:system", "ffmpeg", "PyAV", "pyav ", "decord:x", "auto\n"]
)
def test_a_row_names_no_code(name: str, field: str, tmp_path: Path) -> None:
    path = listed(tmp_path / "x.jsonl", {field: "a.mp4", "decoder": name})
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'decoder': .* is none of auto, decord, pyav"):
        read_manifest(path)
    assert list(check_source(str(path)).unreadable) == [f"{path}:1"]
    (row,) = read_manifest(path, keep_unusable=True)
    assert row.error and "decoder" not in row.as_dict()


@pytest.mark.parametrize("name", ["auto", "decord", "pyav"])
def test_a_row_may_choose_its_decoder(name: str, tmp_path: Path) -> None:
    (row,) = read_manifest(listed(tmp_path / "x.jsonl", {"path": "a.mp4", "decoder": name}))
    assert row.as_dict()["decoder"] == name


@pytest.mark.parametrize("value", [3, 0.5, True, ["os:system"], {"name": "os:system"}, "made by FFmpeg 6.0"])
def test_a_column_of_that_name_in_a_foreign_list_is_not_for_us(value: Any, tmp_path: Path) -> None:
    (row,) = read_manifest(listed(tmp_path / "x.jsonl", {"video": "a.mp4", "decoder": value}))
    assert "decoder" not in row.as_dict()
    with pytest.raises(ManifestError, match="field 'decoder'"):
        read_manifest(listed(tmp_path / "y.jsonl", {"path": "a.mp4", "decoder": value}))


@pytest.mark.parametrize("value", [None, ""])
def test_no_decoder_is_none(value: Any, tmp_path: Path) -> None:
    """`liteframe check` writes it of files that cannot be used."""
    (row,) = read_manifest(listed(tmp_path / "x.jsonl", {"path": "a.mp4", "decoder": value, "error": ""}))
    assert "decoder" not in row.as_dict() and not row.error


def test_empty_fields_are_no_fields(tmp_path: Path) -> None:
    nulls = {"id": None, "question": None, "options": None, "answer": None, "questions": None, "start": None}
    (row,) = read_manifest(listed(tmp_path / "x.jsonl", {"path": "a.mp4", **nulls, "conversations": None}))
    assert (row.id, row.question, row.options, row.conversations) == ("a.mp4", None, None, None)


def test_a_huge_conversation_is_a_fault_of_its_row(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "x" * 600_000}, {"from": "gpt", "value": "y" * 600_000}]
    with pytest.raises(ManifestError, match=r"field 'conversations': has more than 1,000,000 characters"):
        read_manifest(listed(tmp_path / "x.jsonl", {"video": "a.mp4", "conversations": talk}))
    row = {"video": "a.mp4", "messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 1_000_001}]}]}
    (tmp_path / "y.json").write_text(json.dumps([row]))
    with pytest.raises(ManifestError, match=r"field 'messages': has more than"):
        read_manifest(tmp_path / "y.json")


SHAPES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    # SenseNova-SI-800K: a column of lists that are strings in some rows
    "lists and strings": (
        [{"video": ["a.mp4"], "conversations": []}, {"video": "b.mp4"}, {"video": ["a.mp4", "b.mp4"]}],
        ["", "", "field 'video': one video a row is needed, not 2"],
    ),
    # lmms-finetune: rows of images between those of videos
    "images and videos": (
        [{"image": "x.jpg", "conversations": []}, {"video": "a.mp4", "image": None}],
        ["field 'path' (or 'video'): the path of a video file is needed", ""],
    ),
    # a video as Hugging Face's data sets give one
    "objects": (
        [
            {"video": {"path": "a.mp4", "bytes": None}},
            {"video": "b.mp4"},
            {"video": {"path": "c.mp4", "bytes": "AAAA"}},
        ],
        ["", "", "field 'video': holds the video itself"],
    ),
    "ShareGPT4Video": (
        [{"video_id": "a", "video_path": "panda/a.mp4", "captions": []}],
        ["field 'path' (or 'video'): the path of a video file is needed"],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_lists_that_misled_other_loaders(shape: str, tmp_path: Path) -> None:
    rows, faults = SHAPES[shape]
    found = read_manifest(listed(tmp_path / "x.jsonl", *rows), keep_unusable=True)
    for row, fault in zip(found, faults, strict=True):
        assert bool(row.error) == bool(fault) and fault in (row.error or "")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"video_path": "a.mp4"}, "'video_path' is not read as one; rename it to 'video'"),
        ({"id": "1", "videoID": "abc"}, "'videoID' is not read as one"),
        ({"contentUrl": "https://x.org/a.mp4"}, "'contentUrl' is not read as one"),
        ({"data": [{"video": "a.mp4"}]}, "if the rows are those in 'data', write these alone"),
        ({"v_1": {"annotation": "a.jsonl", "root": "b"}}, "'v_1' tells of a list; name that list, 'a.jsonl', in data"),
        ({"annotation": "a.jsonl", "root": "b"}, "it tells of a list; name that list, 'a.jsonl'"),
        ({"v_1": {"duration": 3}, "v_2": {"duration": 7}}, "an object of rows by name, 'v_1', 'v_2', ...: write these"),
        ({"database": {"v_1": {}}}, "if the rows are those in 'database', write these alone"),
        ({"video_id": "001", "videoID": "fFjv93ACGo8"}, "'video_id', 'videoID' are not read as one; rename the one"),
        ({"image": "a.jpg", "conversations": [{"from": "human", "value": "hi"}]}, "a row about pictures, or of text"),
        ({"question": "What?", "answer": "That."}, "a row about pictures, or of text"),
        ({"fps": 3}, "add it to the row"),
    ],
)
def test_a_row_without_a_path_tells_where_it_may_stand(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(fields))
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'path' \(or 'video'\)") as error:
        read_manifest(tmp_path / "x.jsonl")
    assert told in str(error.value)
    assert "fps" not in fields or str(error.value).endswith("add it to the row")


def test_a_column_called_error_takes_no_row_out_without_a_word(tmp_path: Path) -> None:
    """Data sets about mistakes have one; `liteframe check` writes its own beside `"ok": false`."""
    path = tmp_path / "x.jsonl"
    for name in ("path", "video"):
        (row,) = read_manifest(listed(path, {name: "a.mp4", "ok": False, "error": "no video stream"}))
        assert row.error == "no video stream"
        for plain in ("none", "None", "N/A", "", False, 0, float("nan"), []):
            (row,) = read_manifest(listed(path, {name: "a.mp4", "error": plain}))
            assert row.error is None and "error" not in row.extra
        for own in ("Measurement Error", True, 5, 0.2, ["x"]):
            for ok in ({}, {"ok": True}, {"ok": "false"}):
                with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'error': .*: .*rename the field"):
                    read_manifest(listed(path, {name: "a.mp4", "error": own, **ok}))
