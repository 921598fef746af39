"""Results as VLMEvalKit's files: its columns, in its order, with nothing lost on the way back."""

from __future__ import annotations

import ast
import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from published_layouts import LAYOUTS

from liteframe.command import cli
from liteframe.errors import DataError
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.report import write_report
from liteframe.evaluation.results import Part, ResultFolder, fingerprint
from liteframe.evaluation.vlmevalkit_files import NO_ANSWER, write_vlmevalkit

COLUMNS = {
    "video-mme": "index video video_path duration domain candidates sub_category task_type subtitle_path question"
    " answer",
    "mlvu": "task_type prefix duration video question answer candidates index",
    "longvideobench": "video_id question question_wo_referring_query correct_choice topic_category question_category"
    " level id video_path subtitle_path duration_group starting_timestamp_for_subtitles duration view_count candidates"
    " index video",
    "mvbench": "task_type prefix data_type bound start end video question answer candidates index",
    "mvbench-video": "task_type prefix video question answer candidates index",
}
FILES = {
    "video-mme": "Video-MME_64frame",
    "mlvu": "MLVU_MCQ_64frame",
    "longvideobench": "LongVideoBench_64frame",
    "mvbench": "MVBench_64frame",
    "mvbench-video": "MVBench_MP4_64frame",
}
FIRST = {
    "video-mme": {"video_path": "./video/-vid_0.mp4", "subtitle_path": "./subtitle/-vid_0.srt", "answer": "A"},
    "mlvu": {"task_type": "plotQA", "prefix": "./MLVU/video/1_plotQA", "answer": "Yellow"},
    "longvideobench": {"video": "vid0", "video_path": "./videos/vid0.mp4", "correct_choice": "1"},
    "mvbench": {"task_type": "Action Sequence", "prefix": "video/star/Charades_v1_480/", "bound": "True", "end": "4"},
    "mvbench-video": {"task_type": "Action Sequence", "prefix": "star/Charades_segment/", "answer": "two"},
}
"""What stands in the first row, beside what is as it was published."""
TEXTS = ("B", "The answer is C.\nNot \"D\"\tor 'E'\r\n", "None", "", "日本 (A)", " x ")
"""What models write; pandas takes the third and the fourth for nothing."""


def evaluation(name: str, folder: Path, texts: tuple[str, ...] = TEXTS, **settings: Any) -> list[Question | Unusable]:
    """A finished evaluation of a published layout; the last question was skipped."""
    layout = LAYOUTS[name]
    layout.write(folder / "data")
    rows = benchmark(layout.benchmark).read(folder / "data", layout.split)
    asked = [row for row in rows if isinstance(row, Question)]
    results = ResultFolder(folder / "results")
    about = {
        "benchmark": layout.benchmark,
        "split": layout.split,
        "limit": None,
        "subtitles": False,
        "compressor": None,
    }
    about |= {"answer": "generate", "frames": [64], **settings}
    results.prepare(about, {"model": "runs/mine/export", "data": str(folder / "data"), "environment": {}})
    with results.writing(Part()) as file:
        for frames, (number, question) in itertools.product(about["frames"], enumerate(asked)):
            line = {"question": question.id, "frames": frames, "asked": fingerprint(question), "status": "answered"}
            answer = {"answer": texts[number % len(texts)], "option_logits": None}
            file.append({**line, **({"status": "skipped", "why": "x"} if question is asked[-1] else answer)})
    write_report(results, benchmark(layout.benchmark), rows)
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("name", FILES)
def test_the_table_is_that_of_the_data_set_with_a_prediction(name: str, tmp_path: Path) -> None:
    rows = evaluation(name, tmp_path)
    assert cli.main(["evaluate", "--vlmevalkit", str(tmp_path / "results"), "--out", str(tmp_path / "o")]) == 0
    (path,) = (tmp_path / "o").rglob("*.*")
    assert path == tmp_path / "o" / "mine" / f"mine_{FILES[name]}.tsv"
    found = table(path)
    assert list(found[0]) == [*COLUMNS[name].split(), "prediction"]
    assert FIRST[name].items() <= found[0].items()
    if name == "mvbench":  # by its own order of tasks, not by the names of their lists
        assert [row["task_type"] for row in found] == [
            *("Action Sequence", "Action Sequence", "Object Existence", "Object Existence", "Episodic Reasoning")
        ]
        rows.sort(key=lambda row: ["action_sequence", "object_existence", "episodic_reasoning"].index(row.row["task"]))
    # VLMEvalKit numbers all rows of its lists, those among them that are not read here.
    assert [row["index"] for row in found] == [str(at) for at, row in enumerate(rows) if "question" in row.row]
    published = [row for row in rows if "question" in row.row]
    assert len(found) == len(published) == len(rows) - 1
    for row, written in zip(published, found, strict=True):
        assert ast.literal_eval(written["candidates"]) == row.row.get("candidates", row.row.get("options"))
        assert written["question"] == row.row["question"]
        assert written.get("correct_choice", written.get("answer")) == str(
            row.row.get("correct_choice", row.row.get("answer"))
        )


@pytest.mark.parametrize("name", FILES)
def test_answers_read_back_as_they_were_written(name: str, tmp_path: Path) -> None:
    for number in range(len(TEXTS)):
        folder = tmp_path / str(number)
        rows = evaluation(name, folder, TEXTS[number:] + TEXTS[:number])
        ((path, (unanswered, left_out)),) = write_vlmevalkit(folder / "results", "m", folder / "o").items()
        asked = [row for row in rows if isinstance(row, Question)]
        said = {row.id: (TEXTS[number:] + TEXTS[:number])[at] for at, row in enumerate(asked[:-1])}
        found = [row["prediction"] for row in table(path)]
        assert left_out == len(rows) - len(found) == 1
        assert len(found) - unanswered == len(said) and found.count(NO_ANSWER) == unanswered > 0
        assert not {"", "None"} & set(found), "pandas would take them for nothing"
        wanted = [said.get(row.id, NO_ANSWER) for row in rows if "question" in row.row]
        assert sorted(text.removesuffix(" ") for text in found) == sorted(text.removesuffix(" ") for text in wanted)


def test_rows_without_a_key_or_that_cannot_be_read_are_left_out_and_the_others_keep_their_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation("longvideobench", tmp_path)
    path = tmp_path / "data/lvb_val.json"
    lists = json.loads(path.read_text())
    lists[0]["correct_choice"] = None  # it was answered before
    lists.insert(1, 7)
    path.write_text(json.dumps(lists))
    assert cli.main(["evaluate", "--vlmevalkit", str(tmp_path / "results"), "--out", str(tmp_path / "o")]) == 0
    found = {row["video"]: int(row["index"]) for row in table(next((tmp_path / "o").rglob("*.tsv")))[:3]}
    assert found == {"vid1": 2, "vid2": 3, "vid9": 4}
    told = capsys.readouterr()
    assert "3 rows have no answer" in told.out + told.err
    assert "3 rows of the list, without a key" in told.out + told.err
    lists = [{**row, "correct_choice": None} for row in lists if row != 7]
    path.write_text(json.dumps(lists))
    with pytest.raises(DataError, match="not one row with a key"):
        write_vlmevalkit(tmp_path / "results", "m", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_subtitles_and_several_frame_counts_have_files_of_their_own(tmp_path: Path) -> None:
    evaluation("video-mme", tmp_path, subtitles=True, frames=[64, 8])
    assert [path.name for path in write_vlmevalkit(tmp_path / "results", "m", tmp_path / "results/vlmevalkit")] == [
        *("m_Video-MME_64frame_subs.tsv", "m_Video-MME_8frame_subs.tsv")
    ]


def test_options_that_are_code_are_never_written(tmp_path: Path) -> None:
    """VLMEvalKit evaluates what stands in `candidates`; a row that is left out may hold anything there."""
    rows = evaluation("longvideobench", tmp_path)
    path = tmp_path / "data/lvb_val.json"
    lists = json.loads(path.read_text())
    lists[3]["candidates"] = "__import__('os').abort()"  # its video is missing
    path.write_text(json.dumps(lists))
    (written,) = write_vlmevalkit(tmp_path / "results", "m", tmp_path / "o")
    assert "abort" not in written.read_text() and len(table(written)) == sum("question" in row.row for row in rows) - 1


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("egoschema", {}, "VLMEvalKit has no data set for egoschema"),
        ("longvideobench-test", {}, r"no data set for longvideobench \(test\)"),
        ("mlvu-copy", {}, "other fields than this row has .*'question_type'"),
        ("longvideobench-parquet", {}, "other fields than this row has .*'candidates'"),
        ("video-mme", {"limit": 3}, "was asked 3 rows alone"),
        ("video-mme", {"answer": "likelihood"}, "--answer generate"),
    ],
)
def test_what_would_not_be_the_data_set_is_refused(name: str, settings: Any, said: str, tmp_path: Path) -> None:
    evaluation(name, tmp_path, **settings)
    with pytest.raises(DataError, match=said):
        write_vlmevalkit(tmp_path / "results", "m", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_table_beside_which_scores_may_lie_is_not_changed(tmp_path: Path) -> None:
    evaluation("mlvu", tmp_path / "a")
    (path,) = write_vlmevalkit(tmp_path / "a/results", "m", tmp_path / "o")
    before = path.read_bytes()
    assert list(write_vlmevalkit(tmp_path / "a/results", "m", tmp_path / "o")) == [path]
    evaluation("mlvu", tmp_path / "b", ("A",))
    with pytest.raises(DataError, match="is there already and says something else"):
        write_vlmevalkit(tmp_path / "b/results", "m", tmp_path / "o")
    assert path.read_bytes() == before
