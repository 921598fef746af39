from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from string import ascii_uppercase

import pyarrow.parquet as pq
import pytest
from published_layouts import LAYOUTS, Layout, touch, write_json, write_parquet

from liteframe.data.sources.row_fields import RowFields
from liteframe.errors import ConfigError, DataError, ManifestError
from liteframe.evaluation.benchmarks.question import Question, Unusable, of_letter, of_number, of_text
from liteframe.evaluation.benchmarks.registry import BENCHMARKS, benchmark
from liteframe.evaluation.prompts.prompt import prompt


def questions(name: str, root: Path) -> list[Question]:
    layout = LAYOUTS[name]
    layout.write(root)
    return [row for row in benchmark(layout.benchmark).read(root, layout.split) if isinstance(row, Question)]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_good_rows_are_read_and_bad_ones_listed(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path)
    rows = benchmark(layout.benchmark).read(tmp_path, layout.split)
    asked = [row for row in rows if isinstance(row, Question)]
    left_out = [row for row in rows if isinstance(row, Unusable)]
    assert tuple(row.answer for row in asked) == layout.answers
    assert len(left_out) == len(layout.faults)
    for fault in layout.faults:
        assert any(fault in row.why for row in left_out), [row.why for row in left_out]
    assert all(row.where in row.why and str(tmp_path) in row.where for row in left_out)
    assert len({row.id for row in rows}) == len(rows)
    for row in asked:
        assert set(row.groups) == set(BENCHMARKS[layout.benchmark].groups)
        assert (tmp_path / row.video).exists() and not Path(row.video).is_absolute()
        assert not any(option.startswith(f"{letter}.") for letter, option in zip(row.letters, row.options, strict=True))


def test_every_benchmark_has_a_layout_here() -> None:
    there = {(layout.benchmark, layout.split) for layout in LAYOUTS.values()}
    assert {name for name, _ in there} == set(BENCHMARKS)
    with pytest.raises(ConfigError, match="choose one of video-mme, mlvu"):
        benchmark("videomme")


def test_a_split_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'val'; choose one of dev, test"):
        benchmark("mlvu").read(tmp_path, "val")


def test_video_mme_keeps_its_options_to_the_letter(tmp_path: Path) -> None:
    first, second, third = questions("video-mme", tmp_path)
    assert first.options[:2] == ("Apples.", "Candles.")
    assert first.published == "What is number 0?\nA. Apples.\nB. Candles.\nC. Berries.\n" + (
        "D. The three kinds are of the same number."
    )
    assert (second.subtitles, third.subtitles) == ("subtitle/-vid_1.srt", None)
    assert second.video == "videos_chunked_02/data/-vid_1.MP4"
    assert first.groups == {
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Law",
        "task": "Object Recognition",
    }


def test_a_question_of_video_mme_that_lacks_a_group_is_asked_among_the_unknown(tmp_path: Path) -> None:
    LAYOUTS["video-mme"].write(tmp_path)
    path = tmp_path / "videomme/test-00000-of-00001.parquet"
    row = pq.read_table(path).slice(0, 1).to_pylist()[0]
    for value in (None, "", " "):
        write_parquet(path, [{**row, "duration": value, "domain": value}])
        (asked,) = benchmark("video-mme").read(tmp_path)
        assert isinstance(asked, Question), asked
        assert (asked.groups["duration"], asked.groups["domain"]) == ("unknown", "unknown")
        assert asked.groups["task"] == row["task_type"]


def test_mlvu_says_the_same_in_both_of_its_layouts(tmp_path: Path) -> None:
    raw, copied = questions("mlvu", tmp_path / "raw")[0], questions("mlvu-copy", tmp_path / "copy")[0]
    assert (raw.text, raw.options) == (copied.text, copied.options)
    assert raw.published is None
    assert copied.published == "What color is the coat?\n(A) Yellow\n(B) Red\n(C) Green\n(D) Blue"
    assert [row.groups["task"] for row in questions("mlvu", tmp_path / "raw")] == ["plotQA", "needle"]


def test_a_video_of_mlvu_is_that_of_its_own_task(tmp_path: Path) -> None:
    plot, needle = questions("mlvu", tmp_path / "raw")
    assert (plot.video, needle.video) == (
        "MLVU/video/1_plotQA/movie101_66.mp4",
        "MLVU/video/2_needle/movie101_66.mp4",
    )
    # In the copy they lie in one folder, or where the archive is; the folders of the authors may be beside it.
    touch(tmp_path / "copy", "MLVU/video/3_ego/ego_2.mp4", "MLVU/video/4_count/needle_1.mp4")
    own, other = questions("mlvu-copy", tmp_path / "copy")
    assert (own.video, other.video) == ("MLVU/video/3_ego/ego_2.mp4", "video_part_1/needle_1.mp4")


def test_others_questions_are_none_of_the_tiny_worlds_and_are_asked_as_ones_own(tmp_path: Path) -> None:
    LAYOUTS["own"].write(tmp_path)
    with pytest.raises(DataError, match=r"field 'scene': missing, so no row of the tiny world; .* --benchmark own"):
        benchmark("tiny-world").read(tmp_path)
    first = next(row for row in benchmark("own").read(tmp_path) if isinstance(row, Question))
    asked = prompt("liteframe", "own", "test").ask(first).user
    assert asked == "color of the star\nA. orange\nB. magenta\nAnswer with the letter of the right option."
    LAYOUTS["tiny-world"].write(tmp_path)
    first = next(row for row in benchmark("tiny-world").read(tmp_path) if isinstance(row, Question))
    assert prompt("liteframe", "tiny-world", "test").ask(first).user == "color of the star"


@pytest.mark.parametrize("bad", [7, None, "color of the star", ["color of the star"]])
def test_an_item_that_is_no_question_costs_itself_alone(bad: object, tmp_path: Path) -> None:
    LAYOUTS["own"].write(tmp_path)
    path = tmp_path / "test.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps({**row, "questions": [row["questions"][0], bad, row["questions"][1]]}))
    first, refused, last = benchmark("own").read(tmp_path)
    assert isinstance(first, Question) and isinstance(last, Question)
    assert (first.id, refused.id, last.id) == ("test-00000 0", "test-00000 1", "test-00000 2")
    assert isinstance(refused, Unusable) and "field questions: wanted objects with a 'question'" in refused.why


def test_what_is_no_file_of_a_video_is_called_what_it_is(tmp_path: Path) -> None:
    LAYOUTS["own"].write(tmp_path)
    os.mkfifo(tmp_path / "test/00009.mp4")
    path = tmp_path / "test.jsonl"
    outside = json.dumps({**json.loads(path.read_text().splitlines()[0]), "id": "out", "path": "../a.mp4"})
    path.write_text(path.read_text() + outside)
    why = {row.id: row.why for row in benchmark("own").read(tmp_path) if isinstance(row, Unusable)}
    assert "00009.mp4: is not a regular file but a pipe" in why["test-00009"]
    (led_out,) = (each for each in why.values() if "leads out" in each)
    assert f"'../a.mp4' leads out of {tmp_path}; correct the row, or put the video in there" in led_out


def test_longvideobench_has_what_its_subtitles_need(tmp_path: Path) -> None:
    first, second, _ = questions("longvideobench", tmp_path)
    assert (first.subtitles, first.subtitles_start_s, first.duration_s) == ("subtitles/vid0_en.json", 2.5, 10.0)
    assert first.groups == {"duration": "15", "task": "S2E", "topic": "NP-News-Programs"}
    assert second.subtitles is None


def test_padding_is_no_option(tmp_path: Path) -> None:
    assert [len(row.options) for row in questions("longvideobench-parquet", tmp_path)] == [2, 5]


def test_mvbench_knows_parts_pictures_and_its_own_folders(tmp_path: Path) -> None:
    cut, pictures, door = questions("mvbench", tmp_path)
    assert (cut.start_s, cut.end_s, cut.pictures_fps) == (1.5, 4.0, None)
    assert pictures.video == "video/tvqa/frames_fps3_hq/castle_s01e01_seg02_clip_00"
    assert (pictures.pictures_fps, pictures.end_s) == (3.0, 9.5)
    assert door.video == "video/clevrer/video_validation/video_1.mp4"  # not the archive of the same names
    touch(tmp_path, "video/star/Charades_segment/ZS9XR.mp4")
    again = questions("mvbench", tmp_path)[0]
    assert (again.video, again.start_s) == ("video/star/Charades_segment/ZS9XR.mp4", None)  # cut already


def test_mvbench_in_one_list_has_the_same_tasks(tmp_path: Path) -> None:
    assert [row.groups["task"] for row in questions("mvbench-video", tmp_path)] == [
        "action_sequence",
        "fine_grained_pose",
    ]
    (tmp_path / "test.json").write_text('{"meta": {"Action Sequence": []}}')
    with pytest.raises(ManifestError, match=r"test.json: an object with 'meta' and 'root'"):
        benchmark("mvbench").read(tmp_path)


def test_egoschema_of_its_authors_asks_all_in_its_test_split(tmp_path: Path) -> None:
    LAYOUTS["egoschema-authors"].write(tmp_path)
    rows = benchmark("egoschema").read(tmp_path, "test")
    assert [row.answer for row in rows if isinstance(row, Question)] == [4, 0, None]
    for text, fault in (("[1]", "an index for each q_uid, not list"), ("{", "not JSON")):
        (tmp_path / "subset_answers.json").write_text(text)
        with pytest.raises(DataError, match=rf"subset_answers.json: .*{fault}"):
            benchmark("egoschema").read(tmp_path)


def test_a_list_whose_rows_are_all_bad_is_an_error_that_says_why(tmp_path: Path) -> None:
    write_json(tmp_path / "lvb_val.json", [{"prompt": "?"}])
    with pytest.raises(DataError, match=r"not one question .*lvb_val.json: row 1: field 'option0'"):
        benchmark("longvideobench").read(tmp_path)
    write_json(tmp_path / "lvb_val.json", [])
    with pytest.raises(DataError, match="the list of questions is empty"):
        benchmark("longvideobench").read(tmp_path)
    with pytest.raises(DataError, match=r"no list of questions, looked for .*test_mcq_gt.json"):
        benchmark("mlvu").read(tmp_path, "test")
    with pytest.raises(DataError, match="no such folder"):
        benchmark("mlvu").read(tmp_path / "nowhere")


def test_ids_that_come_again_are_told_apart(tmp_path: Path) -> None:
    LAYOUTS["longvideobench"].write(tmp_path)
    rows = json.loads((tmp_path / "lvb_val.json").read_text().split(',\n{"question": "a"')[0] + "]")
    write_json(tmp_path / "lvb_val.json", [rows[0], rows[0], rows[0]])
    assert [row.id for row in benchmark("longvideobench").read(tmp_path)] == ["vid0_0", "vid0_0@2", "vid0_0@3"]


def test_more_options_than_letters_are_refused(tmp_path: Path) -> None:
    LAYOUTS["mlvu-test"].write(tmp_path)
    path = tmp_path / "test-ground-truth/test_mcq_gt.json"
    row = json.loads(path.read_text().split(',\n{"question": "a"')[0] + "]")[0]
    write_json(path, [row, {**row, "candidates": [str(number) for number in range(7)], "answer": "1"}])
    (refused,) = (row for row in benchmark("mlvu").read(tmp_path, "test") if isinstance(row, Unusable))
    assert "field 'candidates': 2 to 6 options" in refused.why


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_spelling_of_every_answer_comes_back(size: int) -> None:
    options = ["a man", "Red, white.", "3", "B", "The Blue One", "none of these"][:size]
    for order in itertools.islice(itertools.permutations(options), 24):
        for index, option in enumerate(order):
            letter = ascii_uppercase[index]
            for spelt in (letter, f"({letter})", f"{letter}.", f" {letter} ", letter.lower(), f"{letter}. {option}"):
                assert of_letter(RowFields({"answer": spelt}, "w"), "answer", order) == index
            for spelt in (option, f" {option}", option.upper(), option.rstrip(".")):
                assert of_text(RowFields({"answer": spelt}, "w"), "answer", order) == index
            for number in (index, str(index), f" {index}"):
                assert of_number(RowFields({"answer": number}, "w"), "answer", order) == index


@pytest.mark.parametrize(
    ("read", "value", "fault"),
    [
        (of_letter, "E", "not exactly one of the options"),
        (of_letter, 1, "a string is needed"),
        (of_text, "C", "not exactly one of the options"),
        (of_text, "same", "not exactly one of the options"),
        (of_number, 4, "an index from 0 to 3"),
        (of_number, -1, "an index from 0 to 3"),
        (of_number, True, "an index from 0 to 3"),
        (of_number, 1.0, "an index from 0 to 3"),
        (of_number, "-1", "an index from 0 to 3"),
        (of_number, "1" * 5000, "an index from 0 to 3"),
    ],
)
def test_an_answer_that_is_none_is_refused(read: object, value: object, fault: str) -> None:
    assert callable(read)
    with pytest.raises(ManifestError, match=f"w: field 'answer': .*{fault}"):
        read(RowFields({"answer": value}, "w"), "answer", ("same", "same", "x", "y"))


@pytest.mark.parametrize("read", [of_letter, of_text, of_number])
def test_an_answer_that_is_not_published_is_none(read: object) -> None:
    assert callable(read)
    assert read(RowFields({}, "w"), "answer", ("a", "b")) is None
    assert read(RowFields({"answer": ""}, "w"), "answer", ("a", "b")) is None


def test_letters_of_options_that_are_not_in_turn_are_not_taken_for_places(tmp_path: Path) -> None:
    begin_like_letters = ("D. Beckham", "C. Ronaldo", "B. Charlton", "A. Iniesta")
    for answer, index in (("A", 0), ("(D)", 3), ("C. Ronaldo", 1)):
        assert of_letter(RowFields({"answer": answer}, "w"), "answer", begin_like_letters) == index
    LAYOUTS["video-mme"].write(tmp_path)
    path = tmp_path / "videomme/test-00000-of-00001.parquet"
    row = pq.read_table(path).slice(0, 1).to_pylist()[0]
    write_parquet(path, [row, {**row, "question_id": "gap", "options": ["A. x", "C. y", "D. z"], "answer": "C"}])
    asked, refused = benchmark("video-mme").read(tmp_path)
    assert isinstance(asked, Question) and isinstance(refused, Unusable)
    assert "field 'options': the letters of ['A. x', 'C. y', 'D. z'] are not A, B, ... in turn" in refused.why


def test_ones_own_questions_of_another_split_are_left_out(tmp_path: Path) -> None:
    LAYOUTS["own"].write(tmp_path)
    path = tmp_path / "test.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text("".join(json.dumps({**row, "id": told, "split": told}) + "\n" for told in ("test", "val", "train")))
    rows = list(benchmark("own").read(tmp_path))
    refused = [row for row in rows if isinstance(row, Unusable) and '"split": "train" is of another split' in row.why]
    assert [row.id for row in refused] == ["train 0", "train 1"]
    assert sum(isinstance(row, Question) for row in rows) == 4
