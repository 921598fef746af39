"""What `liteframe check` says about the rows of a list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from painted_videos import write_video
from video_server import serving

from liteframe.data.checking import command
from liteframe.data.checking.command import check_command
from liteframe.data.checking.source_check import LACKS, check_source
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.sources.manifest import read_manifest

GOOD = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "A star."}]
UNPLACED = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A star."}]
EMPTY = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": " \n"}]
BACKWARDS = GOOD[::-1]


def listed(path: Path, rows: list[Any]) -> str:
    path.write_text(json.dumps(rows))
    return str(path)


@pytest.fixture
def source(tmp_path: Path) -> str:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, 8)
    choices = {"question": "Which?", "options": ["red", "blue"], "answer": "C. green"}
    rows: list[Any] = [
        {"id": "1", "video": "a.mp4", "conversations": GOOD},
        {"id": "1", "video": "a.mp4", "conversations": UNPLACED},
        {"id": "2", "video": "a.mp4", "conversations": EMPTY},
        {"id": "3", "video": "b.mp4", "conversations": BACKWARDS},
        {"id": "4", "video": "b.mp4"},
        {"id": "5", "video": "absent.mp4", "conversations": UNPLACED},
        {"id": "6", "conversations": GOOD},
        "a.mp4",
        {"path": "b.mp4", "question": "why", "answer": ""},
        {"path": "b.mp4", "id": "7", "questions": [{"question": "why", "answer": "so"}, choices]},
        {"path": "b.mp4", "id": "8", **choices, "answer": "(B) blue."},
    ]
    return listed(tmp_path / "list.json", rows)


def test_each_kind_of_lack_is_counted_and_shown_by_its_first_row(source: str) -> None:
    found = check_source(source)
    assert found.rows == 11
    assert found.counts() == {
        "unreadable_row": 2,
        "no_file": 1,
        "no_questions": 1,
        "bad_conversation": 1,
        "bad_choices": 1,
        "no_placeholder": 2,
        "empty_answer": 2,
        "duplicate_id": 1,
    }
    unseen = {"empty_question", "equal_options", "several_placeholders", "outside_part"}
    assert set(found.counts()) == set(LACKS) - unseen
    assert f"{source}: row 7: field 'path'" in found.first["unreadable_row"]
    assert found.first["no_placeholder"] == f"{source}: row 2"
    assert found.first["duplicate_id"] == f"{source}: row 2 (1)"
    assert "absent.mp4 (id 5)" in found.first["no_file"]
    assert "(id 3): field conversations" in found.first["bad_conversation"]
    assert "(id 7): field answer: 'C. green' is none of the options" in found.first["bad_choices"]


def test_the_command_prints_the_counts_and_writes_them_by_file(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    assert check_command(source, str(output)) == 1
    printed = capsys.readouterr().out
    assert "2 of 3 files usable" in printed and "\n11 rows\n" in printed
    assert "2 whose conversation has no <video> or <image>; the first: " in printed
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    by_name = {Path(row["path"]).name: row for row in rows[:3]}
    assert [by_name[name]["rows"] for name in ("a.mp4", "b.mp4", "absent.mp4")] == [3, 5, 1]
    assert by_name["a.mp4"]["lacks"] == {"no_placeholder": 1, "duplicate_id": 1, "empty_answer": 1}
    assert by_name["absent.mp4"]["lacks"] == {"no_file": 1, "no_placeholder": 1}
    assert [(row["path"], row["lacks"]) for row in rows[3:]] == [
        (f"{source}: row {number}", {"unreadable_row": 1}) for number in (7, 8)
    ]
    assert [row.error is None for row in read_manifest(output)] == [True, True, False, False, False]


def test_a_conversation_that_would_stop_training_fails_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "a.mp4", 8)
    rows = {name: {"video": "a.mp4", "conversations": talk} for name, talk in (("good", GOOD), ("bad", BACKWARDS))}
    assert check_command(listed(tmp_path / "good.json", [rows["good"]])) == 0
    assert "1 row, nothing is missing" in capsys.readouterr().out
    assert check_command(listed(tmp_path / "bad.json", [rows["bad"]])) == 1
    assert check_command(listed(tmp_path / "plain.json", [{"path": "a.mp4"}])) == 0, "not every stage asks questions"


def test_remote_videos_are_fetched_to_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    write_video(tmp_path / "a.mp4", 8)
    rows = [{"video": "a.mp4", "conversations": GOOD}, {"video": "b.mp4", "conversations": GOOD}]
    output, cache = tmp_path / "out.jsonl", tmp_path / "cache"
    with serving() as server:
        server.files["a.mp4"], root = (tmp_path / "a.mp4").read_bytes(), server.root
        command = {"output": str(output), "root": root, "cache": str(cache), "processes": 1}
        assert check_command(listed(tmp_path / "x.json", rows), **command) == 1  # type: ignore[arg-type]
    good, absent = (json.loads(line) for line in output.read_text().splitlines())
    assert good["ok"] and (good["path"], good["frames"]) == (f"{root}/a.mp4", 8)
    assert absent["path"] == f"{root}/b.mp4" and "cannot be fetched: 404" in absent["error"]
    with RemoteCache(str(cache)).local_copy(f"{root}/a.mp4") as path:
        assert Path(path).read_bytes() == (tmp_path / "a.mp4").read_bytes(), "and stay"


def test_questions_and_options_that_a_stage_would_stumble_over_are_counted(tmp_path: Path) -> None:
    asked = {"path": "a.mp4", "question": "Which?", "options": ["red", "blue"], "answer": "red"}
    rows = [
        asked,
        {**asked, "question": " <video>", "options": None},
        {**asked, "options": ["red", "blue", "blue "]},
        {**asked, "options": ["red", ""]},
        {**asked, "options": ["A.", "B."], "answer": "A."},
        {**asked, "type": "x" * 65},
        {**asked, "type": None},
        {"path": "a.mp4", "conversations": [{**GOOD[0], "value": "<image><image>What?"}, GOOD[1]]},
        {"path": "a.mp4", "conversations": [{**GOOD[0], "value": "Frame1: <image>Frame2: <image>What?"}, GOOD[1]]},
        {"path": "a.mp4", "conversations": [{**GOOD[0], "value": "<video> and <video>, how do they differ?"}, GOOD[1]]},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.mp4").touch()
    assert check_source(str(tmp_path / "list.jsonl")).counts() == {
        "bad_conversation": 1,
        "bad_choices": 2,
        "empty_question": 1,
        "equal_options": 1,
        "several_placeholders": 1,
    }


def test_of_the_videos_of_a_folder_nobody_expects_questions(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    for source in (tmp_path, tmp_path / "a.mp4"):
        assert check_source(str(source)).text() == "1 row, nothing is missing"
    assert check_source(listed(tmp_path / "list.json", [{"path": "a.mp4"}])).counts() == {"no_questions": 1}


def test_of_a_folder_moving_webps_are_found_and_other_endings_are_counted(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a.MP4", "a.srt", "inner/b.srt", "c.part", "noend", ".hidden.txt"):
        (tmp_path / name).touch()
    for name, flags in (("still.webp", b"\0"), ("moving.webp", b"\2")):
        (tmp_path / name).write_bytes(b"RIFF\x28\0\0\0WEBPVP8X\x0a\0\0\0" + flags + bytes(40))
    found = check_source(str(tmp_path))
    assert [Path(path).name for path in found.rows_of] == ["a.MP4", "moving.webp"]
    assert found.left_out == {".srt": 2, ".part": 1, "": 1, ".webp": 1}
    assert "5 other files, whose endings are not those of videos: 2 .srt," in found.text()
    assert "1 without one" in found.text()


def test_parts_of_a_file_survive_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `data.train: videos.jsonl` would take the whole film for each."""
    write_video(tmp_path / "film.mp4", 160)  # 6.4 s
    write_video(tmp_path / "clip.mp4", 8)
    rows = [
        {"path": "film.mp4", "start": 1, "end": 2},
        {"path": "clip.mp4"},
        {"path": "film.mp4", "start": 5, "end": 6},
        {"path": "film.mp4", "start": 1, "end": 2, "conversations": UNPLACED},
        {"path": "film.mp4"},
        {"path": "clip.mp4", "start": 0},
    ]
    source, output = listed(tmp_path / "list.json", rows), tmp_path / "out.jsonl"
    read: list[str] = []
    many = command.check_many
    monkeypatch.setattr(command, "check_many", lambda paths, *rest: (read.extend(paths), many(paths, *rest))[1])
    assert check_command(source, str(output), processes=1) == 0
    assert [Path(path).name for path in read] == ["film.mp4", "clip.mp4"], "each file once"
    parts = [("film.mp4", 1.0, 2.0), ("film.mp4", 5.0, 6.0), ("film.mp4", None, None)]
    parts += [("clip.mp4", None, None), ("clip.mp4", 0.0, None)]
    assert [(Path(row.path).name, row.start, row.end) for row in read_manifest(output)] == parts
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["rows"] for row in written] == [2, 1, 1, 1, 1]
    assert [row["lacks"] for row in written[:2]] == [{"no_placeholder": 1, "no_questions": 1}, {"no_questions": 1}]
    text = output.read_text()
    assert check_command(source, str(output), processes=1) == 0 and len(read) == 2, "nothing is checked again"
    assert output.read_text() == text
    output.write_text("".join(text.splitlines(keepends=True)[:1]))
    assert check_command(source, str(output), processes=1) == 0 and output.read_text() == text
    assert [Path(path).name for path in read[2:]] == ["clip.mp4"], "of the film one part was there already"
    assert check_command(listed(tmp_path / "other.json", rows[1:2]), str(output), processes=1) == 0
    assert "start" not in json.loads(output.read_text())


def test_a_part_that_is_not_in_its_file_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.mp4", 225)  # 9 s
    rows = [
        {"path": "a.mp4", "start": 3, "end": 9.9},
        {"path": "a.mp4", "start": 3, "end": 12},
        {"path": "a.mp4", "start": 9.5},
    ]
    output = tmp_path / "out.jsonl"
    assert check_command(listed(tmp_path / "bad.json", rows), str(output), processes=1) == 1
    printed = capsys.readouterr().out
    assert f"2 {LACKS['outside_part']}; the first: {tmp_path}/bad.json: row 2: {tmp_path}/a.mp4 is 9.00 s" in printed
    lacks = [json.loads(line)["lacks"].get("outside_part") for line in output.read_text().splitlines()]
    assert lacks == [None, 1, 1]
    assert check_command(listed(tmp_path / "good.json", rows[:1]), str(output), processes=1) == 0
